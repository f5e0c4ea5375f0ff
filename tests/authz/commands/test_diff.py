"""`diff`: what it shows is so, what changes it finds, and what is newly allowed comes first."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_authz.commands.asked import Asked
from envoy_authz.commands.compare import NEW_ALLOW, NEW_DENY, Comparison, compare, kind_of
from envoy_authz.commands.judge import judge
from envoy_authz.commands.source import Source
from envoy_authz.core import Action, Options, PathAmbiguity
from envoy_authz.core.policy import Policy, Rule
from tests.authz.commands import made
from tests.authz.commands.conftest import Run

OLD = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders}
spec:
  rules:
    - from: [{source: {principals: ["shop.example/ns/web/sa/*"]}}]
      to: [{operation: {methods: [GET], paths: ["/orders/*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-exports}
spec:
  action: DENY
  rules:
    - to: [{operation: {paths: ["/orders/export"]}}]
"""


def kinds(comparison: Comparison) -> set[str]:
    return {change.kind for change in comparison.changes}


def agrees(old: Source, new: Source, asked: Asked) -> None:
    comparison = compare(old, new, 2000)
    for change in comparison.changes:
        for example in change.examples:
            assert kind_of(judge(old, example), judge(new, example)) == change.kind
    wanted = kind_of(judge(old, asked), judge(new, asked))
    if comparison.whole and wanted is not None:
        assert wanted in kinds(comparison)


@given(made.policies, made.policies, made.requests)
@settings(max_examples=20, deadline=None)
def test_a_request_that_is_decided_otherwise_is_a_change_that_is_found(
    old: tuple[Policy, ...], new: tuple[Policy, ...], asked: Asked
) -> None:
    agrees(made.source(old), made.source(new), asked)


@given(made.policies, made.policies, made.requests)
@settings(max_examples=20, deadline=None)
def test_so_it_is_where_the_default_is_to_allow(
    old: tuple[Policy, ...], new: tuple[Policy, ...], asked: Asked
) -> None:
    options = Options(default_action=Action.ALLOW, path_ambiguity=PathAmbiguity.OFF)
    agrees(made.source(old, options), made.source(new, options), asked)


def test_where_all_is_allowed_a_policy_for_some_workloads_narrows_those_that_say_nothing() -> None:
    options = Options(default_action=Action.ALLOW)
    narrow = Policy("web", rules=(Rule(),), selector={"app": "web"})
    assert kinds(compare(made.source((), options), made.source((narrow,), options))) == {NEW_DENY}


@given(made.policies, made.rules, made.requests)
@settings(max_examples=20, deadline=None)
def test_an_injected_rule_that_allows_is_found(old: tuple[Policy, ...], rule: Rule, asked: Asked) -> None:
    agrees(made.source(old), made.source((*old, Policy("injected", rules=(rule,)))), asked)


@given(made.policies, st.data(), made.requests)
@settings(max_examples=20, deadline=None)
def test_a_rule_that_lost_a_part_is_found(old: tuple[Policy, ...], data: st.DataObject, asked: Asked) -> None:
    with_rules = [place for place, policy in enumerate(old) if policy.rules]
    if not with_rules:
        return
    place = data.draw(st.sampled_from(with_rules))
    policy = old[place]
    part = data.draw(st.sampled_from(["sources", "operations", "when"]))
    first, *rest = policy.rules
    changed = replace(policy, rules=(replace(first, **{part: ()}), *rest))
    new = (*old[:place], changed, *old[place + 1 :])
    agrees(made.source(old), made.source(new), asked)


@given(made.policies)
@settings(max_examples=15, deadline=None)
def test_the_same_rules_under_other_names_are_no_change(old: tuple[Policy, ...]) -> None:
    renamed = tuple(replace(policy, name=f"other-{policy.name}") for policy in reversed(old))
    assert compare(made.source(old), made.source(renamed)).changes == []


@pytest.fixture
def old(tmp_path: Path) -> Path:
    file = tmp_path / "old.yaml"
    file.write_text(OLD, "utf-8")
    return file


def changed(old: Path, *pairs: tuple[str, str]) -> Path:
    text = old.read_text("utf-8")
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    file = old.with_name("new.yaml")
    file.write_text(text, "utf-8")
    return file


WIDENINGS = {
    "a prefix one segment shorter": ('"/orders/*"', '"/orders*"'),
    "another method": ("[GET]", "[GET, DELETE]"),
    "any caller of the trust domain": ("shop.example/ns/web/sa/*", "shop.example/*"),
    "a caller whose account only begins alike": ("/sa/*", "/sa*"),
    "a DENY of something else": ('"/orders/export"', '"/orders/exports"'),
    "a DENY in a dry run": (
        "metadata: {name: no-exports}",
        'metadata: {name: no-exports, annotations: {istio.io/dry-run: "true"}}',
    ),
    "a DENY of some methods only": (
        '{paths: ["/orders/export"]}',
        '{paths: ["/orders/export"], methods: [PUT]}',
    ),
}


@pytest.mark.parametrize("pair", WIDENINGS.values(), ids=list(WIDENINGS))
def test_a_widening_is_shown_with_a_request_that_explain_and_the_exit_code_confirm(
    run: Run, old: Path, pair: tuple[str, str]
) -> None:
    new = changed(old, pair)
    code, shown, _ = run("diff", str(old), str(new), "--no-new-allows", "--format", "json")
    data = json.loads(shown)
    assert (code, data["exhaustive"]) == (1, True)
    first = data["changes"][0]
    assert first["kind"] == NEW_ALLOW
    for example in first["examples"]:
        options = shlex.split(example["explain"])
        assert run("explain", str(old), *options)[0] == 1
        assert run("explain", str(new), *options)[0] == 0


def test_a_narrowing_is_no_new_allow(run: Run, old: Path) -> None:
    new = changed(old, ('"/orders/*"', '"/orders/1"'))
    code, shown, said = run("diff", str(old), str(new), "--no-new-allows")
    assert code == 0
    assert shown.startswith("new deny: GET /orders/x, by shop.example/ns/web/sa/x")
    assert "was  allowed by AuthorizationPolicy orders (spec.rules[0]) at" in shown
    assert said.startswith("0 new allow, 1 new deny")
    assert run("diff", str(old), str(new))[0] == 1


def test_no_change_is_said_and_exits_with_0(run: Run, old: Path) -> None:
    code, shown, said = run("diff", str(old), str(old))
    assert (code, shown) == (0, "")
    assert (
        said
        == "no decision changes; 0 requests decided by both: each kind that the changed rules tell apart\n"
    )


def test_what_is_newly_allowed_comes_first(run: Run, old: Path) -> None:
    new = changed(old, ("[GET]", "[PUT]"))
    _, shown, _ = run("diff", str(old), str(new))
    firsts = [line.partition(":")[0] for line in shown.splitlines() if not line.startswith(" ")]
    assert firsts == [NEW_ALLOW, NEW_DENY]


def test_each_way_in_which_a_rule_is_wider_has_its_example(run: Run, old: Path) -> None:
    new = changed(old, ("[GET]", "[GET, DELETE]"), ('"/orders/*"', '"/orders*"'))
    _, shown, _ = run("diff", str(old), str(new), "--format", "json")
    (change,) = json.loads(shown)["changes"]
    ways = {(example["method"], example["path"]) for example in change["examples"]}
    assert {method for method, _path in ways} == {"GET", "DELETE"}
    assert any(method == "GET" and not path.startswith("/orders/") for method, path in ways)
    assert change["after"]["at"].endswith("new.yaml:7:7")


ISSUER = """---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: customers}
spec:
  jwtRules:
    - issuer: https://login.example
      audiences: [shop]
      jwks: '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: customers}
spec:
  rules:
    - from: [{source: {requestPrincipals: ["*"]}}]
"""


def test_an_issuer_that_is_trusted_now_is_a_widening(run: Run, old: Path) -> None:
    old.write_text(OLD + ISSUER, "utf-8")
    partner = "    - issuer: https://login.example"
    new = changed(
        old,
        (
            partner,
            partner.replace("login", "partner") + "\n      jwksUri: https://partner.example/\n" + partner,
        ),
    )
    _, shown, _ = run("diff", str(old), str(new), "--no-new-allows", "--format", "json")
    changes = json.loads(shown)["changes"]
    widening = [change for change in changes if change["kind"] == NEW_ALLOW]
    assert widening
    assert {change["before"]["reason"] for change in widening} == {"unauthenticated"}
    examples = [example for change in widening for example in change["examples"]]
    assert {example["tokens"][0]["iss"] for example in examples} == {"https://partner.example"}
    new = changed(old, ("audiences: [shop]", "audiences: [shop, other]"))
    _, shown, _ = run("diff", str(old), str(new), "--format", "json")
    examples = [example for change in json.loads(shown)["changes"] for example in change["examples"]]
    assert {example["tokens"][0]["aud"] for example in examples} == {"other"}


CEL = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: refunds}
spec:
  rules:
    - to: [{operation: {methods: [POST], paths: ["/refunds"]}}]
      when:
        - cel: "request.auth.claims.level >= 3 && request.json.amount < 500 && 'ops' in request.auth.claims.groups"
        - {key: "request.body.json[currency]", values: [EUR]}
"""


@pytest.mark.parametrize(
    "pair",
    [
        (">= 3", "> 1"),
        ("< 500", "<= 500"),
        ("'ops'", "'op'"),
        (" && request.json.amount < 500", ""),
        ("[EUR]", "[EUR, USD]"),
    ],
)
def test_values_of_cel_are_found_in_its_text_and_said_to_be_guessed(
    run: Run, old: Path, pair: tuple[str, str]
) -> None:
    old.write_text(CEL, "utf-8")
    code, shown, said = run("diff", str(old), str(changed(old, pair)), "--no-new-allows")
    assert code == 1
    assert shown.startswith("new allow: POST /refunds")
    assert "guessed" in said


def test_what_an_answer_carries_is_a_change_too(run: Run, old: Path) -> None:
    with_status = (
        OLD.replace("security.istio.io/v1", "envoy-sidecars.dev/v1alpha1") + "  denyResponse: {status: 404}\n"
    )
    old.write_text(with_status, "utf-8")
    code, shown, _ = run("diff", str(old), str(changed(old, ("404", "451"))))
    assert code == 1
    assert shown.startswith("other answer: GET /orders/export")


def test_too_many_requests_are_said_to_be_a_sample(run: Run, old: Path) -> None:
    _, _, said = run("diff", str(old), str(changed(old, ("[GET]", "[PUT]"))), "--max-requests", "2")
    assert "a sample: --max-requests tries more" in said


@pytest.mark.parametrize("which", ["old", "new"])
def test_policies_that_can_not_be_read_are_a_2(run: Run, old: Path, which: str) -> None:
    broken = old.with_name("broken.yaml")
    broken.write_text("kind: [", "utf-8")
    files = (str(broken), str(old)) if which == "old" else (str(old), str(broken))
    code, shown, said = run("diff", *files)
    assert (code, shown) == (2, "")
    assert f"{broken}:1:" in said
    assert run("diff", str(old))[0] == 2
