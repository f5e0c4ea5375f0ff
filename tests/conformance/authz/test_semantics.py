"""Istio's semantics row by row: the cases of cases.yaml, each also turned around as a DENY."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from envoy_authz.config import load_policies
from envoy_authz.core import (
    Authentication,
    Condition,
    Options,
    PathAmbiguity,
    Policy,
    PolicySet,
    Request,
    Rule,
    VerifiedToken,
)
from envoy_authz.core.attributes import KEYS, OURS, name_of
from envoy_authz.core.policy import Action

CASES: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("cases.yaml"))
SOURCE_FIELDS = [
    *("principals", "requestPrincipals", "namespaces", "serviceAccounts", "trustDomains"),
    *("ipBlocks", "remoteIpBlocks"),
]
REQUESTS = [
    pytest.param(case, request, verdict, id=f"{case['name']}: {verdict} {number}")
    for case in CASES
    for verdict in ("allow", "deny")
    for number, request in enumerate(case.get(verdict, []))
]


def token(claims: Mapping[str, Any]) -> VerifiedToken:
    return VerifiedToken(
        issuer=claims.get("iss", ""),
        subject=claims.get("sub", ""),
        audiences=frozenset(claims.get("aud", [])),
        claims=claims,
        expires_at_s=2e9,
        presenter=claims.get("azp", ""),
    )


def policy_file(folder: Path, case: Mapping[str, Any], action: str) -> Path:
    metadata = {"name": "case"} | ({"namespace": case["namespace"]} if "namespace" in case else {})
    if case.get("dry_run"):
        metadata["annotations"] = {"istio.io/dry-run": "true"}
    spec: dict[str, Any] = {"action": action}
    if case["rules"] is not None:
        spec["rules"] = case["rules"]
    if "selector" in case:
        spec["selector"] = {"matchLabels": case["selector"]}
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": spec,
    }
    file = folder / "policy.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(document, stream)
    return file


def allows(policies: list[Policy], case: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    attributes = dict(given)
    tokens = tuple(map(token, attributes.pop("tokens", [])))
    headers = attributes.pop("headers", {})
    request = Request(**{"method": "GET", "path": "/", "request_headers": headers, **attributes})
    options = Options(trusted_hops=case.get("trusted_hops", 0), path_ambiguity=PathAmbiguity.OFF)
    return PolicySet(policies, options=options).decide(request, Authentication(tokens)).allowed


@pytest.mark.parametrize(("case", "given", "verdict"), REQUESTS)
def test_a_request_is_decided_as_istio_says(
    tmp_path: Path, case: dict[str, Any], given: dict[str, Any], verdict: str
) -> None:
    loaded = load_policies([policy_file(tmp_path, case, case.get("action", "ALLOW"))])
    assert allows(list(loaded.policies), case, given) is (verdict == "allow")


# Where a workload or a value is unknown, or a header came twice, each action errs on its own safe side.
CAREFUL = {"a selector by the labels of the route", "of a repeated header each value must be allowed"}
TURNED = [
    pytest.param(case, request, verdict, id=f"{case['name']}: {verdict} {number}")
    for case in CASES
    if case["rules"] is not None
    for verdict in ("allow", "deny")
    for number, request in enumerate(case.get(verdict, []))
]


UNKNOWN = [
    pytest.param(case, request, id=f"{case['name']}: {number}")
    for case in CASES
    for number, request in enumerate(case.get("unknown", []))
]


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize(("case", "given"), UNKNOWN)
def test_what_can_not_be_known_is_what_each_action_has_to_fear(
    tmp_path: Path, case: dict[str, Any], given: dict[str, Any], action: str
) -> None:
    loaded = list(load_policies([policy_file(tmp_path, case, action)]).policies)
    if action == "DENY":
        loaded.append(Policy("open", action=Action.ALLOW, rules=(Rule(),)))
    assert not allows(loaded, case, given)


@pytest.mark.parametrize(("case", "given", "verdict"), TURNED)
def test_as_a_denial_it_denies_what_it_matches(
    tmp_path: Path, case: dict[str, Any], given: dict[str, Any], verdict: str
) -> None:
    if case.get("dry_run") or case.get("action"):
        verdict = "deny"
    elif case["name"] in CAREFUL:
        return
    loaded = load_policies([policy_file(tmp_path, case, case.get("action", "DENY"))])
    open_ = Policy("open", action=Action.ALLOW, rules=(Rule(),))
    assert allows([*loaded.policies, open_], case, given) is (verdict == "deny")


def test_every_field_and_every_key_has_a_row() -> None:
    """Of Istio's schema: what is only ours is held in tests/authz/test_superset.py."""
    text = Path(__file__).with_name("cases.yaml").read_text("utf-8")
    for field in SOURCE_FIELDS:
        assert re.search(rf"\b{field}: \[", text), field
        assert re.search(rf"\bnot{field[0].upper()}{field[1:]}: \[", text), field
    for field in ("methods", "hosts", "paths", "ports"):
        assert re.search(rf"\b{field}: \[", text), field
        assert re.search(rf"\bnot{field.capitalize()}: \[", text), field
    for key in KEYS:
        if name_of(key) not in OURS:
            assert f"key: {name_of(key)}" in text or f'key: "{name_of(key)}[' in text, key


ORDER = [
    ("allow", "deny", False),
    ("deny", "allow", False),
    ("allow", "allow", True),
    ("deny", "deny", False),
]


@pytest.mark.parametrize(("first", "second", "allowed"), ORDER)
def test_any_denial_denies_in_whatever_order(first: str, second: str, *, allowed: bool) -> None:
    policies = [
        Policy(f"{number}", action=Action[action.upper()], rules=(Rule(),))
        for number, action in enumerate((first, second))
    ]
    assert allows(policies, {}, {}) is allowed


def test_one_allowance_that_applies_must_match_and_any_of_several_suffices() -> None:
    none, other = (
        Policy("none"),
        Policy("other", rules=(Rule(when=(Condition("request.headers[a]", ("1",)),)),)),
    )
    assert not allows([none], {}, {})
    assert not allows([none, other], {}, {})
    assert allows([none, other], {}, {"headers": {"a": "1"}})
    assert not PolicySet([none], default_action=Action.ALLOW).decide(Request("GET", "/")).allowed
    assert PolicySet([], default_action=Action.ALLOW).decide(Request("GET", "/")).allowed
    assert not PolicySet([]).decide(Request("GET", "/")).allowed


def test_an_unknown_workload_meets_denials_and_no_allowances() -> None:
    chosen = {"app": "shop"}
    allow = Policy("a", rules=(Rule(),), selector=chosen)
    deny = Policy("d", action=Action.DENY, rules=(Rule(),), selector=chosen)
    open_ = Policy("open", rules=(Rule(),))
    assert not allows([allow], {}, {})
    assert not allows([open_, deny], {}, {})
    assert allows([open_, deny], {}, {"context": {"labels.app": "other"}})
    several = [Policy("a", "one", rules=(Rule(),)), Policy("d", "two", Action.DENY, (Rule(),))]
    assert not allows([several[0], Policy("b", "two")], {}, {})
    assert allows([several[0], Policy("b", "two")], {}, {"context": {"namespace": "one"}})
    assert not allows([open_, *several], {}, {})


@pytest.mark.parametrize("scoped", [{"namespace": "shop"}, {"selector": {"app": "shop"}}])
def test_the_default_is_for_workloads_without_an_allow_policy(scoped: dict[str, Any]) -> None:
    policies = PolicySet(
        [Policy("a", **scoped), Policy("e", "elsewhere", Action.DENY)], default_action=Action.ALLOW
    )
    here = {"namespace": "shop", "labels.app": "shop"}
    there = {"namespace": "other", "labels.app": "other"}
    assert not policies.decide(Request("GET", "/", context=here)).allowed
    assert policies.decide(Request("GET", "/", context=there)).allowed
    assert not policies.decide(Request("GET", "/")).allowed


@pytest.mark.parametrize(("roles", "denied"), [("user,admin", True), ("user, admin", True), ("user", False)])
def test_no_value_of_a_repeated_header_slips_past_a_denial(roles: str, *, denied: bool) -> None:
    rule = Rule(when=(Condition("request.headers[x-role]", ("admin",)),))
    policies = [Policy("open", rules=(Rule(),)), Policy("d", action=Action.DENY, rules=(rule,))]
    assert allows(policies, {}, {"headers": {"x-role": roles}}) is not denied
