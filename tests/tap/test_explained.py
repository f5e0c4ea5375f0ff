"""What was taken out of an exchange is said with its place and its rule."""

from dataclasses import replace

import pytest

from envoy_tap.core.exchange import Exchange, Message, Node
from envoy_tap.core.redaction.explained import MAX_FOUND, explained
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import DEFAULT_HEADERS, DEFAULT_NAMES, Redaction, Style

RULES = Redaction(
    headers=DEFAULT_HEADERS | {"x-account"},
    names=DEFAULT_NAMES | {"iban"},
    paths=frozenset({"cards[*].number"}),
)
NEVER = frozenset({"x-ssn"})
EXCHANGE = Exchange("tap", Node("edge-1", "edge"), 1, Message(), Message(), 0.0, 1.0)


def found(request: Message, rules: Redaction = RULES) -> dict[str, str]:
    """Return places and reasons of a request, after the real redactor."""
    redacted = Redactor(rules, NEVER, b"key").redacted(replace(EXCHANGE, request=request))
    return {place.where: place.why for place in explained(redacted, rules, NEVER)}


@pytest.mark.parametrize("style", Style)
def test_headers_are_explained_by_the_rule_that_took_them(style: Style) -> None:
    headers = (
        (":path", b"/orders?page=2&token=abc"),
        ("authorization", b"Bearer abc"),
        ("x-account", b"4711"),
        ("x-ssn", b"123-45-6789"),
        ("x-contact", b"mail alice@shop.example please"),
        ("x-plain", b"tea"),
    )
    assert found(Message(headers), replace(RULES, style=style)) == {
        "request header :path, token": "this service by default takes out every value named token",
        "request header authorization": "this service by default takes out every header authorization",
        "request header x-account": "the session takes out every header x-account",
        "request header x-ssn": "the policy never lets this header through",
        "request header x-contact": "it looks like one of: card, email, jwt, userinfo",
    }


def test_members_of_a_json_body_are_named_by_their_path() -> None:
    body = b'{"user": {"password": "a", "iban": "b", "note": "to 4111-1111-1111-1111"}, "cards": [{"number": "7"}]}'
    assert found(Message((("content-type", b"application/json"),), body)) == {
        "request body user.password": "this service by default takes out every value named password",
        "request body user.iban": "the session takes out every value named iban",
        "request body user.note": "it looks like one of: card, email, jwt, userinfo",
        "request body cards[0].number": "the session asks for this path",
    }


def test_a_json_body_that_is_cut_is_explained_as_far_as_it_goes() -> None:
    body = b'{"user": {"password": "a", "name": "Al'
    redacted = Message((("content-type", b"application/json"),), body)
    assert (
        found(redacted)["request body, password"]
        == "this service by default takes out every value named password"
    )


def test_forms_parts_and_closed_bodies_are_explained() -> None:
    form = Message((("content-type", b"application/x-www-form-urlencoded"),), b"a=1&password=b")
    assert list(found(form)) == ["request body, password"]
    part = b'--x\r\ncontent-disposition: form-data; name="secret"\r\n\r\nabc\r\n--x--'
    parts = Message((("content-type", b"multipart/form-data; boundary=x"),), part)
    assert list(found(parts)) == ["request body, secret"]
    closed = Message((("content-encoding", b"odd"),), b"\x01\x02")
    assert found(closed) == {"request body": "it could not be looked into"}


def test_nothing_taken_out_is_nothing_to_explain() -> None:
    assert found(Message((("x-a", b"b"),), b'{"a": [1, 2, null]}')) == {}


def test_a_hostile_body_costs_no_more_than_its_bound() -> None:
    nested = b"[" * 900 + b'"[redacted]"' + b"]" * 900
    many = b"[" + b",".join([b'"[redacted]"'] * 100_000) + b"]"
    assert len(found(Message((), nested))) == 1
    assert len(explained(replace(EXCHANGE, request=Message((), many)), RULES, NEVER)) == MAX_FOUND
    cut = b'name="' + b"a" * 100_000 + b"[redacted]" * 50
    assert len(explained(replace(EXCHANGE, request=Message((), cut)), RULES, NEVER)) == 50
