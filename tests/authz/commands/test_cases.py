"""`test`: cases beside the policies pass or fail as they should, and what no case reaches is said."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.authz.commands.conftest import Run

POLICIES = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
    - from: [{source: {principals: ["shop.example/ns/web/sa/*"]}}]
      to: [{operation: {methods: [GET], paths: ["/orders/*"]}}]
    - from: [{source: {requestPrincipals: ["https://login.example/*"]}}]
      to: [{operation: {methods: [POST], paths: [/refunds]}}]
      when:
        - {key: "request.auth.claims[groups]", values: [support]}
        - cel: "request.json.amount < 500"
  allowMutations:
    setHeaders: [{name: X-User, from: "request.auth.claims[sub]"}]
    removeHeaders: [x-debug]
    setQuery: [{name: checked, value: "yes"}]
    metadata: [{name: level, from: "request.auth.claims[level]"}]
---
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: no-exports, namespace: shop}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: [/orders/export], hosts: ["*.example"]}}]}]
  denyResponse: {status: 451}
"""
CASES = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: PolicyTest
cases:
  - name: the frontend reads orders
    request: {path: /orders/42}
    identity: {principal: shop.example/ns/web/sa/frontend, address: 10.0.0.1}
    expect: {decision: allow, policy: shop/orders, rule: 0, reason: allowed_by_policy}
  - name: support refunds a little
    request: {method: POST, path: /refunds, json: {amount: 499}}
    identity: {claims: {iss: https://login.example, sub: ann, groups: [support], level: 3}}
    expect:
      decision: allow
      rule: 1
      status: 200
      mutations:
        setHeaders: {x-user: ann}
        removeHeaders: [x-debug]
        setQuery: {checked: "yes"}
        removeQuery: []
        metadata: {level: 3}
  - name: and no more
    request: {method: POST, path: /refunds, json: {amount: 500}}
    identity: {claims: {iss: https://login.example, sub: ann, groups: [support]}}
    expect: {decision: deny, reason: no_policy_matched, status: 403}
  - name: nobody exports
    request: {path: /orders/export, host: shop.example, namespace: shop, labels: {app: web}, port: 443, sni: x}
    identity: {principal: shop.example/ns/web/sa/frontend}
    expect: {decision: deny, policy: shop/no-exports, status: 451}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with `policies` and `tests` in it, in which the command runs."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "policies" / "orders.yaml").write_text(POLICIES, "utf-8")
    (tmp_path / "tests" / "orders.yaml").write_text(CASES, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(folder: Path, before: str, after: str) -> None:
    file = folder / "tests" / "orders.yaml"
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), "utf-8")


def test_all_pass_and_each_rule_is_matched(run: Run, folder: Path) -> None:
    assert run("test", "policies") == (
        0,
        "4 of 4 cases passed; 3 of 3 rules matched (100%)\n",
        "",
    )
    data = json.loads(run("test", "policies", "--format", "json")[1])
    assert (data["failed"], data["coverage"]) == (0, {"percent": 100.0, "rules": 3, "missed": []})
    assert [case["passed"] for case in data["cases"]] == [True] * 4
    assert data["cases"][0]["file"] == "tests/orders.yaml"
    assert folder.joinpath(data["cases"][0]["file"]).is_file()


WRONG = [
    ("decision: allow, policy", "decision: deny, policy", "decision: expected deny, got allow"),
    ("policy: shop/orders", "policy: shop/other", "policy: expected shop/other, got shop/orders"),
    ("rule: 0", "rule: 1", "rule: expected 1, got 0"),
    (
        "reason: no_policy_matched",
        "reason: no_policies",
        "reason: expected no_policies, got no_policy_matched",
    ),
    ("status: 451", "status: 403", "status: expected 403, got 451"),
    ("x-user: ann", "x-user: bob", "mutations.setHeaders: expected {'x-user': 'bob'}, got {'x-user': 'ann'}"),
    ("[x-debug]", "[]", "mutations.removeHeaders: expected [], got ['x-debug']"),
    ('{checked: "yes"}', "{}", "mutations.setQuery: expected {}, got {'checked': 'yes'}"),
    ("{level: 3}\n", "{}\n", "mutations.metadata: expected {}, got {'level': 3}"),
]


@pytest.mark.parametrize(("before", "after", "said"), WRONG)
def test_what_is_not_as_expected_is_said(run: Run, folder: Path, before: str, after: str, said: str) -> None:
    edit(folder, before, after)
    code, shown, _ = run("test", "policies")
    assert code == 1
    assert said in shown
    assert "tests/orders.yaml:" in shown
    assert "3 of 4 cases passed" in shown


def test_a_rule_that_no_case_matches_is_named_and_counts_for_the_threshold(run: Run, folder: Path) -> None:
    edit(folder, "amount: 499", "amount: 501")
    edit(folder, "decision: allow\n      rule: 1\n      status: 200", "decision: deny")
    edit(folder, 'x-user: ann}\n        removeHeaders: [x-debug]\n        setQuery: {checked: "yes"}', "}")
    edit(folder, "metadata: {level: 3}", "metadata: {}")
    code, shown, _ = run("test", "policies")
    assert code == 0, shown
    assert "policies/orders.yaml:9:7: spec.rules[1] of shop/orders: matched by no case" in shown
    assert "2 of 3 rules matched (67%)" in shown
    code, _, said = run("test", "policies", "--min-coverage", "70")
    assert (code, said) == (1, "67% of the rules were matched, and 70% are asked for\n")
    assert run("test", "policies", "--min-coverage", "60")[0] == 0
    assert run("test", "policies", "--min-coverage", "101")[0] == 2


def test_results_are_written_as_junit(run: Run, folder: Path) -> None:
    edit(folder, "rule: 0", "rule: 1")
    edit(folder, "nobody exports", '"<nobody> \\u0001 exports"')
    assert run("test", "policies", "--junit", "results.xml")[0] == 1
    root = ET.fromstring((folder / "results.xml").read_bytes())  # noqa: S314 - our own
    assert (root.get("tests"), root.get("failures")) == ("4", "1")
    first, *others = root.iter("testcase")
    assert (first.get("name"), first.get("file"), first.get("line")) == (
        "the frontend reads orders",
        "tests/orders.yaml",
        "5",
    )
    failure = first.find("failure")
    assert failure is not None
    assert failure.get("message") == "rule: expected 1, got 0"
    assert others[-1].get("name") == "<nobody> ? exports"
    code, _, said = run("test", "policies", "--junit", "/nowhere/results.xml")
    assert code == 2
    assert "--junit /nowhere/results.xml: No such file" in said


BROKEN = [
    ("kind: PolicyTest", "kind: Other", "is no PolicyTest"),
    ("apiVersion: envoy-sidecars.dev/v1alpha1", "apiVersion: v1", "has not the apiVersion of tests"),
    ("request: {path: /orders/42}", "reqest: {path: /orders/42}", "unknown key 'reqest'"),
    ("{path: /orders/42}", "{pth: /orders/42}", "did you mean 'path'?"),
    (
        "{path: /orders/42}",
        "{path: /orders/42, principal: x}",
        "principal is of the caller (cases[0].request.principal); write it below `identity`",
    ),
    ("json: {amount: 499}", "json: {amount: 499}, body: x", "stands beside body"),
    ("decision: allow, policy", "decision: maybe, policy", "expects no decision"),
    ("reason: no_policy_matched", "reason: because", "'because' is no reason"),
    ("port: 443", "port: 99999", "99999 is out of range"),
    ("claims: {iss", "claims: [x], tokens: [{iss", "check the indentation and the quotes"),
    (
        "claims: {iss: https://login.example, sub: ann, groups: [support], level: 3}",
        "claims: [x]",
        "must be a mapping, is list",
    ),
]


@pytest.mark.parametrize(("before", "after", "said"), BROKEN)
def test_a_case_that_can_not_be_read_says_where(
    run: Run, folder: Path, before: str, after: str, said: str
) -> None:
    edit(folder, before, after)
    code, shown, error = run("test", "policies")
    assert (code, shown) == (2, "")
    assert "tests/orders.yaml:" in error
    assert said in error
    assert "Traceback" not in error


def test_several_tokens_are_listed(run: Run, folder: Path) -> None:
    edit(
        folder,
        "claims: {iss: https://login.example, sub: ann, groups: [support], level: 3}",
        "tokens: [{iss: https://login.example, sub: ann, groups: [support], level: 3}, {iss: https://other.example, sub: x}]",
    )
    assert run("test", "policies")[0] == 0


def test_without_cases_it_is_a_2(run: Run, folder: Path) -> None:
    (folder / "tests" / "orders.yaml").rename(folder / "elsewhere.yaml")
    assert run("test", "policies")[0] == 2
    assert run("test", "policies", "--tests", "elsewhere.yaml")[0] == 0
    (folder / "tests").rmdir()
    code, _, said = run("test", "policies")
    assert code == 2
    assert "there are no tests: make " in said
    (folder / "policies" / "tests").mkdir()
    (folder / "policies" / "tests" / "a.yaml").write_text(CASES, "utf-8")
    code, _, said = run("test", "policies/orders.yaml")
    assert code == 0
    code, _, said = run("test", "policies")
    assert code == 2
    assert run("test", "/nowhere")[0] == 2


def test_options_of_the_service_change_what_is_decided(run: Run, folder: Path) -> None:
    edit(folder, "path: /orders/42", "path: //orders/42")
    assert run("test", "policies")[0] == 1
    assert run("test", "policies", "--path-normalization", "MERGE_SLASHES", "--path-ambiguity", "off")[0] == 0
