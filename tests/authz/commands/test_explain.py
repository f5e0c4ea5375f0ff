"""`explain`: what decides is what decides, what failed is named with the value seen, and each flip really flips."""

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_authz.commands.asked import Asked
from envoy_authz.commands.flip import smallest_flips
from envoy_authz.commands.walk import walk
from envoy_authz.core import Action, Options
from envoy_authz.core.policy import Policy
from tests.authz.commands import made
from tests.authz.commands.conftest import Run

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
    - from: [{source: {principals: ["shop.example/ns/web/sa/*"]}}]
      to: [{operation: {methods: [GET], paths: ["/orders/*"]}}]
      when: [{key: "request.headers[x-team]", values: [red]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-exports, namespace: shop}
spec:
  action: DENY
  rules:
    - to: [{operation: {paths: ["/orders/export"]}}]
"""
GOOD = (
    *("--path", "/orders/1", "--principal", "shop.example/ns/web/sa/x", "--header", "x-team: red"),
    *("--label", "app=orders"),
)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    file = tmp_path / "policies.yaml"
    file.write_text(POLICIES, "utf-8")
    return file


@given(made.policies, made.requests)
@settings(max_examples=25, deadline=None)
def test_each_flip_turns_the_decision_around(some: tuple[Policy, ...], asked: Asked) -> None:
    policies = made.source(some, Options()).policies
    before = policies.decide(asked.request, asked.authentication).allowed
    for flip in smallest_flips(policies, asked).flips:
        after = policies.decide(flip.asked.request, flip.asked.authentication)
        assert after.allowed is not before
        assert flip.verdict.allowed is after.allowed
        assert flip.turns
        assert all(turn.before != turn.after for turn in flip.turns)


@given(made.policies, st.lists(made.requests, min_size=4, max_size=4))
@settings(max_examples=25, deadline=None)
def test_where_another_request_is_decided_otherwise_there_is_a_flip(
    some: tuple[Policy, ...], asked: list[Asked]
) -> None:
    policies = made.source(some).policies
    if len({policies.decide(one.request, one.authentication).allowed for one in asked}) > 1:
        assert smallest_flips(policies, asked[0]).flips


@given(made.policies, made.requests)
@settings(max_examples=25, deadline=None)
def test_the_walk_matches_where_the_policies_do(some: tuple[Policy, ...], asked: Asked) -> None:
    policies = made.source(some).policies
    walks = walk(policies, asked)
    matching = [one.policy.action for one in walks if one.matched]
    decision = policies.decide(asked.request, asked.authentication)
    assert decision.allowed is (Action.DENY not in matching and Action.ALLOW in matching)
    if decision.policy:
        (deciding,) = (one for one in walks if one.policy.full_name == decision.policy)
        assert decision.rule is not None
        assert deciding.rules[decision.rule].matched
    for one in walks:
        for rule in one.rules:
            assert rule.matched is (one.applies and not rule.failed)


THREE_AGAINST_ONE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: elsewhere}
spec: {rules: [{to: [{operation: {notHosts: [a.example]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: inside}
spec: {action: DENY, rules: [{from: [{source: {principals: [td/ns/web/sa/x]}}, {source: {notIpBlocks: [10.0.0.0/8]}}]}]}
"""


def test_a_flip_goes_around_everything_that_stands_against_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(THREE_AGAINST_ONE, "utf-8")
    asked = ("--path", "/", "--host", "a.example", "--principal", "td/ns/web/sa/x")
    code, shown, _ = run("explain", str(file), *asked)
    assert code == 1
    (flip,) = (line for line in shown.splitlines() if "instead of" in line)
    assert all(f"{name} " in flip for name in ("host", "principal", "address"))


def test_an_allowance_names_the_rule_and_where_it_stands(run: Run, policies: Path) -> None:
    code, shown, _ = run("explain", str(policies), *GOOD)
    assert code == 0
    assert shown.startswith(f"allowed by AuthorizationPolicy shop/orders (spec.rules[0]) at {policies}:8:7\n")
    assert "caller     shop.example/ns/web/sa/x" in shown
    assert "namespace  shop: the request does not say, and it is the only one that policies have" in shown
    assert "labels     app=orders by context_extensions" in shown


FAILURES = [
    (("--method", "PUT"), "methods: wants GET; is PUT", "method GET instead of PUT"),
    (
        ("--header", "x-team: blue"),
        "when request.headers[x-team]: wants red; is blue",
        "header x-team red instead of blue",
    ),
    (("--principal", ""), "principals: wants shop.example/ns/web/sa/*; is nothing", "instead of nothing"),
    (("--path", "/items/1"), "paths: wants /orders/*; is /items/1", "path /orders/ instead of /items/1"),
    (("--path", "/orders/export"), "", "path /orders/exportx instead of /orders/export"),
]


@pytest.mark.parametrize(("options", "failed", "flip"), FAILURES)
def test_what_failed_is_said_with_what_was_seen_and_what_would_do(
    run: Run, policies: Path, options: tuple[str, ...], failed: str, flip: str
) -> None:
    code, shown, _ = run("explain", str(policies), *_changed(*options))
    assert code == 1
    assert failed in shown
    assert f"to get it allowed: {flip}" in shown or flip in shown.partition("to get it allowed: ")[2]
    _, shown, _ = run("explain", str(policies), *_changed(*options), "--format", "json")
    data = json.loads(shown)
    assert data["decision"] == "deny"
    for one in data["flips"]:
        assert len(one["changes"]) == 1
        assert run("explain", str(policies), *shlex.split(one["explain"]))[0] == 0


def _changed(option: str, value: str) -> tuple[str, ...]:
    place = GOOD.index(option) if option in GOOD else None
    if place is None:
        return (*GOOD, option, value)
    return (*GOOD[:place], option, value, *GOOD[place + 2 :])


def test_a_policy_for_another_workload_says_so(run: Run, policies: Path) -> None:
    code, shown, _ = run("explain", str(policies), *_changed("--label", "app=db"), "--namespace", "shop")
    assert code == 1
    assert "does not apply" in shown
    assert "is for namespace shop, app=orders; the request is for namespace shop, labels app=db" in shown
    assert "namespace  shop, by context_extensions" in shown
    code, shown, _ = run("explain", str(policies), *GOOD, "--namespace", "other")
    assert code == 1
    assert "the request is for namespace other" in shown


CHECK = {
    "attributes": {
        "source": {"principal": "spiffe://shop.example/ns/web/sa/x"},
        "destination": {
            "principal": "spiffe://shop.example/ns/shop/sa/envoy",
            "labels": {"app": "orders"},
        },
        "request": {
            "http": {"method": "GET", "path": "/orders/1?x=y", "headers": {"X-Team": "red"}, "unknown": 1}
        },
    }
}


def test_a_check_request_as_json_is_a_request(run: Run, policies: Path, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(CHECK), "utf-8")
    code, shown, _ = run("explain", str(policies), "--request", str(file))
    assert code == 0
    assert "path       /orders/1\n" in shown
    assert "namespace  shop, by the identity of Envoy's own certificate" in shown
    assert "labels     app=orders by node" in shown
    assert run("explain", str(policies), "--request", str(file), "--method", "PUT")[0] == 1


def test_a_curl_line_is_a_request(run: Run, policies: Path) -> None:
    line = "curl -sS 'https://shop.example/orders/1?a=b' -H 'X-Team: red'"
    rest = ("--principal", "shop.example/ns/web/sa/x", "--label", "app=orders")
    assert run("explain", str(policies), "--curl", line, *rest)[0] == 0
    assert run("explain", str(policies), "--curl", f"{line} -d x=1", *rest)[0] == 1


def test_the_guard_shows_both_readings(run: Run, policies: Path) -> None:
    code, shown, _ = run("explain", str(policies), *_changed("--path", "/orders//export"))
    assert code == 1
    assert "this path can be read in two ways" in shown
    assert "path       /orders//export\n" in shown
    assert "other path /orders/export, which would be denied by AuthorizationPolicy shop/no-exports" in shown


OURS = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: refunds}
spec:
  rules:
    - to: [{operation: {paths: ["/refunds"]}}]
      when:
        - cel: "request.auth.claims.level >= 3"
        - {key: "request.body.json[currency]", values: [EUR]}
  allowMutations:
    setHeaders: [{name: x-user, from: "request.auth.claims[sub]"}]
    removeHeaders: [x-debug]
    metadata: [{name: level, from: "request.auth.claims[level]"}]
---
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: soon}
spec:
  action: DENY
  mode: SHADOW
  rules: [{to: [{operation: {paths: ["/refunds"]}}]}]
"""
REFUND = ("--path", "/refunds", "--header", "content-type: application/json", "--body", '{"currency": "EUR"}')


def test_conditions_bodies_claims_mutations_and_dry_runs_are_shown(run: Run, policies: Path) -> None:
    policies.write_text(OURS, "utf-8")
    claims = ("--claims", '{"iss": "https://i", "sub": "ann", "level": 3}')
    code, shown, _ = run("explain", str(policies), *REFUND, *claims)
    assert code == 0
    for text in ("sets x-user to ann", "removes x-debug", "metadata level = 3", "token      https://i/ann"):
        assert text in shown
    assert "not enforced: would be denied by AuthorizationPolicy soon (spec.rules[0])" in shown
    code, shown, _ = run("explain", str(policies), *REFUND, "--claims", '{"sub": "ann", "level": 2}')
    assert code == 1
    assert "when cel: wants request.auth.claims.level >= 3; is false, or an error" in shown
    assert "to get it allowed: claim level 3 instead of 2" in shown
    code, shown, _ = run("explain", str(policies), *REFUND[:2], *claims)
    assert "when request.body.json[currency]: wants EUR; is unknown: there is no body" in shown


def test_a_token_in_the_request_is_verified_by_the_policies(run: Run, policies: Path, tmp_path: Path) -> None:
    key, jwks = tmp_path / "key.pem", tmp_path / "jwks.json"
    make = ("token", "--key", str(key), "--jwks", str(jwks), "--audience", "shop")
    _, token, _ = run(*make)
    policies.write_text(
        f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: dev}}
spec: {{jwtRules: [{{issuer: https://dev.example, audiences: [shop], jwksUri: 'file://{jwks}'}}]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: developers}}
spec: {{rules: [{{from: [{{source: {{requestPrincipals: ["https://dev.example/*"]}}}}]}}]}}
""",
        "utf-8",
    )
    code, shown, _ = run("explain", str(policies), "--header", f"authorization: Bearer {token.strip()}")
    assert code == 0
    assert "token      https://dev.example/developer" in shown
    _, old, _ = run(*make, "--expires-in", "-600")
    code, shown, _ = run("explain", str(policies), "--header", f"authorization: Bearer {old.strip()}")
    assert code == 1
    assert "token      refused: " in shown
    assert "expired" in shown
    assert "to get it allowed: token https://dev.example/x" in shown
    code, shown, _ = run("explain", str(policies))
    assert code == 1
    assert "to get it allowed: token https://dev.example/x instead of nothing" in shown


def test_callers_are_known_as_the_identity_file_says(run: Run, policies: Path, tmp_path: Path) -> None:
    identity = tmp_path / "identity.yaml"
    identity.write_text(
        "apiVersion: envoy-sidecars.dev/v1alpha1\nkind: Identity\n"
        "spec: {peers: {trustDomainAliases: {old.example: shop.example}}}\n",
        "utf-8",
    )
    asked = _changed("--principal", "old.example/ns/web/sa/x")
    assert run("explain", str(policies), *asked)[0] == 1
    code, shown, _ = run("explain", str(policies), *asked, "--identity", str(identity))
    assert code == 0
    assert "caller     shop.example/ns/web/sa/x" in shown
    code, _, said = run("explain", str(policies), *asked, "--identity", "/nowhere")
    assert code == 2
    assert "/nowhere" in said


def test_of_many_rules_those_that_are_about_something_else_are_left_out(run: Run, policies: Path) -> None:
    many = "---".join(
        POLICIES.partition("---")[0].replace("orders", f"svc{number}").replace("web", f"n{number}")
        for number in range(30)
    )
    policies.write_text(many, "utf-8")
    asked = _changed("--path", "/svc7/1")
    _, shown, _ = run("explain", str(policies), *asked, "--label", "app=svc7")
    assert "shop/svc7" in shown
    assert "and 29 about something else, or for other workloads: --all shows them" in shown
    _, everything, _ = run("explain", str(policies), *asked, "--label", "app=svc7", "--all")
    assert len(everything.splitlines()) > len(shown.splitlines())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--claims", "x"), "--claims: write a JSON object"),
        (("--claims", "[1]"), "--claims: write a JSON object"),
        (("--header", "x"), "--header 'x': write it like name:value"),
        (("--label", "=x"), "--label '=x': write it like name=value"),
        (("--curl", "curl"), "--curl: 0 URLs are in this curl line"),
        (("--curl", "curl 'x"), "--curl: this is no command line"),
        (("--request", "/nowhere"), "--request /nowhere: No such file"),
        (("--request", "/dev/null"), "--request /dev/null: this is not a CheckRequest"),
        (("--request", "/dev/null", "--curl", "curl x"), "give one of them"),
        (("--port", "0"), "--port"),
    ],
)
def test_a_request_that_can_not_be_read_is_a_2(
    run: Run, policies: Path, options: tuple[str, ...], said: str
) -> None:
    code, shown, error = run("explain", str(policies), *options)
    assert (code, shown) == (2, "")
    assert said in error
    assert "Traceback" not in error


BLOCKED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all}
spec: {rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: blocked}
spec:
  action: DENY
  rules:
    - from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]
    - when: [{key: remote.ip, values: [203.0.113.0/24]}]
"""


def test_a_client_that_is_not_known_is_said_to_be_so(run: Run, policies: Path) -> None:
    policies.write_text(BLOCKED, "utf-8")
    asked = ("explain", str(policies), "--address", "10.0.0.1", "--trusted-hops", "1")
    assert run(*asked, "--header", "x-forwarded-for: 198.51.100.7, 10.0.0.1")[0] == 0
    code, shown, _ = run(*asked, "--header", "x-forwarded-for: 203.0.113.7:80, 10.0.0.1", "--format", "json")
    decided = json.loads(shown)
    assert (code, decided["policy"], decided["rule"]) == (1, "blocked", 0)
    (blocked,) = (one for one in decided["policies"] if one["policy"] == "blocked")
    seen = {part["seen"] for rule in blocked["rules"] for part in rule["parts"]}
    assert all(rule["matched"] for rule in blocked["rules"])
    assert seen == {"unknown: no address of the client is known"}


def test_a_decider_is_said_not_to_be_asked(run: Run, policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("explain", str(policies), *GOOD)
    assert "may decide otherwise" not in run(*asked)[2]
    assert "note: office-hours may decide otherwise" in run(*asked, "--decider", "office-hours")[2]
    monkeypatch.setenv("AUTHZ_DECIDER", "office-hours")
    assert "office-hours" in run("diff", str(policies), str(policies))[2]
