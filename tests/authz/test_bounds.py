"""What one caller sends never costs much time, since all others wait for it, and never stays in memory."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from envoy_authz.authenticators.chain import AuthenticatorChain
from envoy_authz.core import Action, Condition, Operation, Options, Policy, PolicySet, Request, Rule, Source
from envoy_authz.core import expressions as module
from envoy_authz.core.addresses import parse_address
from envoy_authz.core.authentication import Authentication, VerifiedToken
from envoy_authz.core.facts import Facts
from envoy_authz.core.request import RequestView
from envoy_authz.identity.callers import Callers, Peers

ODD = "/a;x/%2e%252e/%2f%5c//..;/b%3fc%23d%00e%09;k/\\..\\f;p=1/%253b/./../%25%32%66;z//%2e%2e;/q"
"""A path of fifteen readings, none of which any policy here denies."""
ALL = Policy("all", rules=(Rule(operations=(Operation(paths=("/*",)),)),))


class Counting(Request):
    """A request that knows how often its body was asked for."""

    asked: list[str] = []  # noqa: RUF012 - each test empties it

    def __getattribute__(self, name: str) -> Any:
        if name == "body":
            Counting.asked.append(name)
        return super().__getattribute__(name)


def posting() -> Counting:
    Counting.asked.clear()
    body = json.dumps({"role": "user"}).encode()
    return Counting("POST", ODD, body=body, request_headers={"content-type": "application/json"})


def denying(**of_rule: Any) -> Policy:
    return Policy("no", action=Action.DENY, rules=(Rule(**of_rule),))


def test_a_body_is_read_once_however_many_ways_there_are_to_read_the_path() -> None:
    condition = Condition("request.body.json[role]", values=("admin",))
    policies = PolicySet([ALL, denying(when=(condition,))])
    assert policies.decide(posting()).allowed
    assert len(Counting.asked) <= 2  # that there is one, and what it is


def test_an_expression_about_a_body_is_evaluated_once_however_many_ways_there_are_to_read_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind, get = module._VARIABLES["request.json"]
    evaluated: list[object] = []

    def counting(facts: Facts) -> object:
        evaluated.append(facts.path)
        return get(facts)

    variables: Mapping[str, tuple[str, Callable[[Facts], object]]] = {
        **module._VARIABLES,
        "request.json": (kind, counting),
    }
    monkeypatch.setattr(module, "_VARIABLES", variables)
    policies = PolicySet([ALL, denying(expressions=('request.json.role == "admin"',))])
    assert policies.decide(posting()).allowed
    assert len(evaluated) == 1


def test_an_expression_about_a_body_and_the_path_sees_each_reading() -> None:
    expression = 'request.json.role == "user" && request.path == "/admin"'
    policies = PolicySet([ALL, denying(expressions=(expression,))])
    request = Request(
        "POST", "/admin;v=1", body=b'{"role": "user"}', request_headers={"content-type": "application/json"}
    )
    assert not policies.decide(request).allowed


def test_an_expression_about_a_body_and_claims_sees_each_token() -> None:
    expression = 'request.json.role == "user" && request.auth.claims.level == "low"'
    policies = PolicySet([ALL, denying(expressions=(expression,))])
    request = Request(
        "POST", "/x", body=b'{"role": "user"}', request_headers={"content-type": "application/json"}
    )
    tokens = tuple(
        VerifiedToken("i", level, frozenset(), {"level": level}, 1e12) for level in ("high", "low")
    )
    assert not policies.decide(request, Authentication(tokens)).allowed


def test_a_caller_is_found_out_once_however_many_ways_there_are_to_read_the_path() -> None:
    asked: list[str] = []

    def identify(request: RequestView) -> str:
        asked.append(request.path)
        return "spiffe://td/ns/shop/sa/web"

    policies = PolicySet(
        [ALL, denying(sources=(Source(principals=("td/ns/shop/sa/other",)),))],
        options=Options(identify=identify),
    )
    assert policies.decide(Request("GET", ODD)).allowed
    assert len(asked) == 1


def made(*parts: str) -> str:
    """Return a text that nobody else holds, as a literal is held by its function."""
    return "".join(parts)


def retained(remembered: Callable[[str], object], text: str) -> bool:
    """Return whether *text* is still held by what *remembered* it."""
    import gc  # noqa: PLC0415
    import sys  # noqa: PLC0415

    gc.collect()
    before = sys.getrefcount(text)
    remembered(text)
    return sys.getrefcount(text) > before


def test_what_is_no_address_is_not_remembered_in_its_length() -> None:
    assert retained(parse_address, made("10.9.8.", "7"))
    assert not retained(parse_address, "x" * 60_000)


def test_a_principal_longer_than_any_is_not_remembered() -> None:
    callers = Callers(Peers())

    def identified(principal: str) -> str:
        return callers.identify(Request("GET", "/", source_principal=principal))

    assert retained(identified, made("spiffe://td/", "web"))
    assert not retained(identified, "spiffe://td/" + "x" * 60_000)


class Finds:
    def __init__(self, name: str) -> None:
        self.name = name

    def authenticate(self, request: RequestView) -> Authentication:
        return Authentication(set_headers=((self.name, request.path),))


def test_what_several_authenticators_made_of_a_large_cookie_is_not_remembered() -> None:
    chain = AuthenticatorChain([Finds("cookie"), Finds("x-user")])

    def authenticated(path: str) -> None:
        chain.authenticate(Request("GET", path))

    assert retained(authenticated, made("/sma", "ll"))
    assert not retained(authenticated, "/" + "x" * 60_000)
