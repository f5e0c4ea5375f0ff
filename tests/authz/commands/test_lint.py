"""`lint`: each thing that can't be meant is found where it stands, and what is meant is left alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings

from envoy_authz.commands.asked import Asked
from envoy_authz.commands.cover import covers_rule
from envoy_authz.core import PolicySet
from envoy_authz.core.policy import Policy, Rule
from tests.authz.commands import made
from tests.authz.commands.conftest import Run

EXAMPLES = Path(__file__).parents[3] / "envoy-configs" / "examples" / "policies"
ISSUER = """---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: customers}
spec: {jwtRules: [{issuer: "https://login.example", jwksUri: "https://login.example/keys"}]}
"""


def policy(rules: str, action: str = "ALLOW", name: str = "p", more: str = "") -> str:
    return f"""---
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}}}
spec: {{action: {action}, rules: [{rules}]{more}}}
"""


def allow(rules: str) -> str:
    return policy(rules)


def source(text: str) -> str:
    return f"{{from: [{{source: {{{text}}}}}]}}"


def to(text: str) -> str:
    return f"{{to: [{{operation: {{{text}}}}}]}}"


def when(text: str) -> str:
    return f"{{when: [{{{text}}}]}}"


FOUND = {
    "anybody, anything": (allow("{}"), "this rule allows every request of everybody"),
    "every path": (allow(to("paths: ['/*']")), "'/*' is every path"),
    "every path but one for a DENY": (policy(to("notPaths: ['*']"), "DENY"), "'*' is every path"),
    "a path that ends inside a name": (
        allow(to("paths: ['/orders*']")),
        "'/orders*' ends inside a name: it is also '/orders-other'; write '/orders' and '/orders/*'",
    ),
    "a suffix of a path": (allow(to("paths: ['*.js']")), "'*.js' has no start"),
    "every host": (allow(to("hosts: ['*']")), "'*' is every host"),
    "an unanchored suffix": (
        allow(to("hosts: ['*shop.example']")),
        "'*shop.example' is also evilshop.example",
    ),
    "an open end of a host": (allow(to("hosts: ['shop.*']")), "'shop.*' is also shop.evil.example"),
    "a host without a port": (
        allow(to("hosts: [shop.example]")),
        "'shop.example' is without a port: a request for shop.example:8080 is refused; list 'shop.example:*' as well",
    ),
    "a denied host without a port": (policy(to("hosts: [shop.example]"), "DENY"), "is not matched here"),
    "any identity": (allow(source("principals: ['*']")), "'*' is any identity of any trust domain"),
    "a suffix of an identity": (allow(source("principals: ['*/sa/web']")), "'*/sa/web' has no start"),
    "an identity that ends inside a name": (
        allow(source("principals: [a.example/ns/web*]")),
        "it is also 'a.example/ns/web-other'",
    ),
    "every address": (allow(source("ipBlocks: [0.0.0.0/0]")), "'0.0.0.0/0' is every address"),
    "every namespace": (allow(source("namespaces: ['*']")), "'*' is any of the namespaces"),
    "a duplicate": (
        allow(to("paths: [/a]") + ", " + to("paths: [/a]")),
        "is a duplicate of spec.rules[0] of p",
    ),
    "a shadowed rule": (
        allow(to("paths: [/a/b], methods: [GET]") + ", " + to("paths: ['/a/*']")),
        "never decides: spec.rules[1] of p (",
    ),
    "an ALLOW that a DENY defeats": (
        allow(to("paths: [/a/b]")) + policy(to("paths: ['/a/*']"), "DENY", "d"),
        "never allows: spec.rules[0] of d (",
    ),
    "nothing is left": (
        allow(to("paths: [/a], notPaths: ['/a*']")),
        "can't be matched: notPaths takes away all of paths",
    ),
    "values and the same notValues": (
        allow(when("key: source.ip, values: [10.1.0.0/16], notValues: [10.0.0.0/8]")),
        "can't be matched: notValues takes away all of values",
    ),
    "gRPC by GET": (allow(to("grpcMethods: [a.B/C], methods: [GET]")), "a gRPC call is a POST"),
    "a token without an issuer": (
        allow(source("requestPrincipals: ['https://login.example/*']")),
        "there is no RequestAuthentication: no token is ever verified",
    ),
    "a principal of another issuer": (
        ISSUER + allow(source("requestPrincipals: ['https://other.example/*']")),
        "'https://other.example/*' is of no issuer that is configured; write <issuer>/<subject>, of https://login.example",
    ),
    "another issuer by its claim": (
        ISSUER + allow(when("key: 'request.auth.claims[iss]', values: ['https://other.example']")),
        "'https://other.example' is no issuer that is configured",
    ),
    "a DENY of everything": (policy("{}", "DENY"), "this rule denies every request"),
    "what no schema allows": (
        allow(to("path: [/a]")),
        "unknown key 'path'; did you mean 'paths'?",
    ),
}


@pytest.mark.parametrize(("text", "said"), FOUND.values(), ids=list(FOUND))
def test_it_is_found_where_it_stands(run: Run, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text, "utf-8")
    code, shown, _ = run("lint", str(file))
    assert code == 1
    message, _, hint = said.partition("; ")
    (line,) = [line for line in shown.splitlines() if message in line and line.endswith(hint)]
    assert line.startswith(f"{file}:")
    code, shown, _ = run("lint", str(file), "--format", "json")
    findings = json.loads(shown)
    assert code == 1
    assert any(message in finding["message"] for finding in findings)
    assert all(finding["line"] > 0 and finding["hint"] for finding in findings)


MEANT = {
    "hosts with and without a port": allow(to("hosts: [shop.example, 'shop.example:*']")),
    "a suffix at a dot": allow(to("hosts: ['*.shop.example']")),
    "narrow patterns of a DENY": policy(to("paths: ['/orders*', '*']"), "DENY"),
    "an audience of everything": policy("{}", "AUDIT"),
    "rules that overlap": allow(
        to("paths: ['/a/*'], methods: [GET]") + ", " + to("paths: ['/a/*', /b], methods: [POST]")
    ),
    "a duplicate for another workload": allow(to("paths: [/a]"))
    + policy(to("paths: [/a]"), name="q")
    .replace("{name: q}", "{name: q, namespace: other}")
    .replace("ALLOW", "DENY"),
    "a duplicate in a dry run": allow(to("paths: [/a]"))
    + policy(to("paths: [/a]"), name="q", more=", mode: SHADOW"),
    "the same with another effect": allow(to("paths: [/a]"))
    + policy(to("paths: [/a]"), name="q", more=", allowMutations: {removeHeaders: [x]}"),
    "several values of a header": allow(when("key: 'request.headers[x]', values: [a], notValues: [a]")),
    "a subject of a trusted issuer": ISSUER
    + allow(source("requestPrincipals: ['https://login.example/*', '*/ann']")),
    "a registered claim": ISSUER + allow(when("key: 'request.auth.claims[scope]', values: [read]")),
}


@pytest.mark.parametrize("text", MEANT.values(), ids=list(MEANT))
def test_what_is_meant_is_left_alone(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.yaml").write_text(text, "utf-8")
    code, shown, said = run("lint", str(tmp_path))
    assert (code, shown) == (0, "")
    assert said.endswith(": clean\n")


def test_claims_that_no_issuer_makes_are_found_once_the_issuers_claims_are_said(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(ISSUER + allow(when("key: 'request.auth.claims[rolle]', values: [admin]")), "utf-8")
    assert run("lint", str(file))[0] == 0
    code, shown, _ = run("lint", str(file), "--claim", "role", "--claim", "groups")
    assert code == 1
    assert "no issuer is said to make the claim 'rolle'" in shown
    assert "known by --claim: groups, role" in shown


def test_the_shipped_policies_are_clean(run: Run) -> None:
    assert run("lint", str(EXAMPLES))[:2] == (0, "")
    assert json.loads(run("lint", str(EXAMPLES), "--format", "json")[1]) == []


@pytest.mark.parametrize("arguments", [["lint"], ["lint", "/nowhere"], ["lint", "--nonsense"]])
def test_lint_of_nothing_is_a_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


def test_a_path_that_is_not_there_hides_no_finding_of_the_others(run: Run, tmp_path: Path) -> None:
    policies, identity = tmp_path / "policy.yaml", tmp_path / "identity.yaml"
    policies.write_text(policy("{}").replace("action", "actionn"), "utf-8")
    identity.write_text("kind: Identity\nspec: {peer: {}}\n", "utf-8")
    code, shown, _ = run("lint", str(policies), "/nowhere", "--identity", str(identity))
    assert code == 2
    assert f"{policies}:5:8: error: unknown key 'actionn'" in shown
    assert "/nowhere:1:1: error: can't be read: No such file or directory" in shown
    assert f"{identity}:2:8: error: unknown key 'peer'" in shown


def test_a_broken_identity_file_is_a_finding_too(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "identity.yaml"
    file.write_text("kind: Identity\nspec: {peer: {}}\n", "utf-8")
    code, shown, _ = run("lint", str(EXAMPLES), "--identity", str(file))
    assert code == 1
    assert f"{file}:2:8: error: unknown key 'peer' (spec.peer); did you mean 'peers'?" in shown


@given(made.rules, made.rules, made.requests)
@settings(max_examples=30, deadline=None)
def test_a_rule_that_covers_another_matches_all_that_the_other_matches(
    wide: Rule, narrow: Rule, asked: Asked
) -> None:
    if covers_rule(wide, narrow):
        outer, inner = (made.source((Policy("p", rules=(rule,)),)).policies for rule in (wide, narrow))
        if _allows(inner, asked):
            assert _allows(outer, asked)
    assert covers_rule(wide, wide)
    assert covers_rule(Rule(), narrow)


def _allows(policies: PolicySet, asked: Asked) -> bool:
    return policies.decide(asked.request, asked.authentication).allowed
