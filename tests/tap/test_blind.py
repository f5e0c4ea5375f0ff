"""Who asks for what redaction takes away before it is judged is told so, and nobody else."""

import pytest

from envoy_tap.core.blind import warnings
from envoy_tap.core.exchange import Message
from envoy_tap.core.predicate import matches, parse
from envoy_tap.core.predicate.evaluator import decided
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import NOTHING, Redaction, Style
from tests.tap.building import exchange

SEEN = exchange(
    Message(
        (
            (":path", b"/u/bob@example.com"),
            (":authority", b"shop"),
            ("referer", b"/a?token=abc"),
            ("x-card", b"4111 1111 1111 1111"),
        ),
        b"mail bob@example.com",
    ),
    Message(((":status", b"302"), ("location", b"/a?token=abc"), ("x-a", b"b"))),
)


@pytest.mark.parametrize(
    "text",
    [
        "path~'/u/bob@example[.]com'",
        r"path~'/u/bob@example\\.com'",
        "header[referer]~'.*[?]token=abc'",
        "header[x-card]~'4111 1111 1111 1111'",
        "response.header[location]='/a?token=abc'",
        "request.body*='bob@example.com'",
        "body*='mail bob@example.com' and status=5xx",
    ],
)
def test_it_warns_of_what_can_not_be_found(text: str) -> None:
    expr = parse(text)
    for style in Style:
        rules = Redaction(style=style)
        (said,) = warnings(expr, rules)
        assert "undecided" in said
        assert ("the proxy decides" in said) is ("~" in text)
        assert not matches(expr, SEEN, decided(expr, SEEN), Redactor(rules, frozenset(), b"key"))
    assert warnings(expr, NOTHING) == []


@pytest.mark.parametrize(
    "text",
    [
        "all",
        "path=/u/bob@example.com",
        "header[referer]*='token=abc' and header[referer] exists",
        "path~'/u/[^/]+' and authority~sho.",
        "response.header[x-a]=b and response.header[location]^='/a?'",
        "request.body*=mail",
        "status=302 and latency>=0s",
    ],
)
def test_it_does_not_of_what_can(text: str) -> None:
    assert warnings(parse(text), Redaction()) == []
