"""A predicate means the same in the proxy and in the collector, as far as the proxy sees; and never less there."""

import gzip
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from envoy_tap.core.exchange import Exchange, Message, Pairs
from envoy_tap.core.predicate import Expr, early, matches, parse
from envoy_tap.core.predicate.evaluator import decided
from envoy_tap.core.predicate.lua import compiled, decisions
from envoy_tap.core.predicate.model import conditions
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import DEFAULT_NAMES, Redaction, Style
from tests.tap.building import exchange
from tests.tap.lua import Lua
from tests.tap.predicates import combined, early_conditions, exchanges, late_conditions

RUN = Lua().predicate()


def in_proxy(expr: Expr, seen: Exchange) -> Any:
    return RUN(compiled(expr), seen)


def bits(expr: Expr, seen: Exchange) -> str:
    """Return what the proxy tells the collector of what it found."""
    found: str = RUN(decisions(expr), seen).decode()
    return found


@given(combined(early_conditions), exchanges())
def test_what_the_proxy_can_decide_it_decides_like_the_collector(expr: Expr, seen: Exchange) -> None:
    decision = early(expr, seen)
    assert decision is not None
    assert in_proxy(expr, seen) is decision
    assert matches(expr, seen, bits(expr, seen)) is decision


@given(combined(early_conditions | late_conditions), exchanges())
def test_the_proxy_lets_through_exactly_what_is_not_decided_against(expr: Expr, seen: Exchange) -> None:
    decision = early(expr, seen)
    assert in_proxy(expr, seen) is (decision is not False)
    assert decision is None or matches(expr, seen, bits(expr, seen)) is decision


MASKING, KEYED = (Redactor(Redaction(style=style), frozenset({"x-b"}), b"key") for style in Style)


@settings(max_examples=300)
@given(combined(early_conditions | late_conditions), exchanges())
def test_whoever_redacts_and_when_a_predicate_means_the_same(expr: Expr, seen: Exchange) -> None:
    told = bits(expr, seen)
    assert told == decided(expr, seen)
    in_collector = matches(expr, seen, told, MASKING)
    assert matches(expr, MASKING.redacted(seen), told, MASKING) is in_collector, "redacted by the proxy"
    assert matches(expr, seen, told, KEYED) is in_collector, "with placeholders"
    assert matches(expr, MASKING.redacted(seen), told) is in_collector, "as what is stored says"
    # Redaction can make JSON of what is none: `{"password": hunter2}`.
    asks_for_json = any(each.field.name.endswith("json") for each in conditions(expr))
    assert matches(expr, seen, told) or not in_collector or asks_for_json, "only what is so"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('header[authorization]="Bearer x" and method=POST', True),
        ('header[authorization]^="Basic " or method=GET', False),
        ("not header[authorization]=other", True),
        ("header[authorization] exists", True),
        ('header[authorization]~"Bearer .*"', None),
        ("header[x-ssn]~1.*", None),
        ('path~"/u/.*"', None),
        ("response.header[set-cookie]*=session", None),
        ("response.header[location]^=https://shop.example/", True),
        ("response.header[location]*=token", True),
        ("response.header[location]*=s3cr3t", None),
        ("response.header[location]^=http://", False),
        ("response.header[location]=https://other/", False),
        ("response.header[set-cookie] exists", True),
        ("request.json[password]=hunter2", None),
        ("request.json[password.hash] exists", None),
        ("request.json[password] exists and request.json[pin] exists", True),
        ("request.json[pin]=1234", None),
        ("request.json[note]^=mail", True),
        ("request.json[note]~'.*bob.*'", None),
        ("request.json[note.text] exists or request.json[note]=1", False),
        ("request.json[id]=7 and body*=mail", True),
        ("body*=hunter2", None),
        ("response.body*=pong", True),
        ("response.body*=hunter2", False),
    ],
)
def test_what_redaction_took_away_decides_nothing(text: str, answer: bool | None) -> None:
    request = Message(
        (
            (":method", b"POST"),
            (":path", b"/u/bob@example.com"),
            ("authorization", b"Bearer x"),
            ("x-ssn", b"123"),
            ("content-type", b"application/json"),
        ),
        b'{"id": 7, "password": "hunter2", "pin": 1234, "note": "mail bob@example.com"}',
    )
    response = Message(
        (
            (":status", b"302"),
            ("set-cookie", b"session=1"),
            ("location", b"https://shop.example/?token=s3cr3t"),
        ),
        b"pong",
    )
    redactor = Redactor(Redaction(names=DEFAULT_NAMES | {"pin"}), frozenset({"x-ssn"}), b"key")
    seen = exchange(request, response)
    for expr, expected in ((parse(text), answer is True), (parse(f"not ({text})"), answer is False)):
        told = decided(expr, seen)
        assert matches(expr, seen, told, redactor) is expected
        assert matches(expr, redactor.redacted(seen), told) is expected


def test_a_compressed_body_decides_nothing_before_it_is_stored_in_clear() -> None:
    seen = exchange(Message((("content-encoding", b"gzip"),), gzip.compress(b"needle")))
    for text in ("request.body*=needle", "not request.body*=needle", "not request.json[a]=1"):
        assert not matches(parse(text), seen, "", MASKING)
    assert matches(parse("request.body*=needle"), MASKING.redacted(seen))


def test_json_that_is_cut_off_decides_nothing() -> None:
    cut = exchange(Message((), b' {"a": 1, "b": "x'), Message((), b"a text"), truncated=True)
    for text in ("request.json[a]=1", "not request.json[a]=1", "not request.json[b] exists"):
        assert not matches(parse(text), cut, "", MASKING)
        assert not matches(parse(text), cut)
    for text, seen in (
        ("not response.json[a]=1", cut),
        ("not request.json[a]=1", replace(cut, truncated=False)),
    ):
        assert matches(parse(text), seen, "", MASKING)


def test_nothing_is_redacted_where_that_can_not_matter() -> None:
    asked_for: list[str] = []

    class Watching(Redactor):
        def header(self, name: str, value: bytes) -> bytes:
            asked_for.append(name)
            return super().header(name, value)

        def body(self, body: bytes, content_type: bytes, *, cut: bool = False) -> bytes:
            asked_for.append("body")
            return super().body(body, content_type, cut=cut)

    seen = exchange(Message(((":method", b"POST"), ("x-a", b"1")), b"ping"))
    for text in ("body*=needle", "status=5xx and body*=ping", "status=200 or body*=ping", "not method=POST"):
        matches(parse(text), seen, "", Watching(Redaction(), frozenset(), b""))
    assert asked_for == []
    assert matches(parse("body*=ping and header[x-a]~1"), seen, "", Watching(Redaction(), frozenset(), b""))
    assert sorted(asked_for) == ["body", "x-a"], "the answer's body is not needed"


def test_the_proxy_is_believed_where_something_was_redacted_and_there_only() -> None:
    expr = parse('header[authorization]="Bearer x" and method=POST')
    redacted = exchange(Message(((":method", b"POST"), ("authorization", b"[redacted]"))))
    assert not matches(expr, redacted)
    assert matches(expr, redacted, "11")
    assert not matches(expr, redacted, "01")
    assert matches(expr, redacted, "10"), "the method came as it was"


def asked(text: str, **more: Any) -> bool:
    request = Message(
        (
            (":method", b"POST"),
            (":path", b"/orders/7?page=2"),
            (":authority", b"Shop.example:443"),
            ("x-user", b"alice"),
            ("x-user", b"bob"),
            ("x-empty", b""),
        ),
        b'{"order": {"items": [{"id": 7}, {"id": "x"}], "paid": true, "note": null}}',
    )
    response = Message(
        ((":status", b"503"), ("retry-after", b"1")), b"no healthy upstream", (("grpc-status", b"14"),)
    )
    peer = {"source_address": "10.1.2.3:5555", "source_principal": "spiffe://mesh/cart"}
    return matches(parse(text), exchange(request, response, **peer, **more))


@pytest.mark.parametrize(
    "text",
    [
        "all",
        "method=POST",
        "method!=GET",
        "path=/orders/7",
        "path^=/orders",
        "path*=rders",
        "path like /orders/{id}",
        "path like /orders/**",
        'path~"/orders/[0-9]+"',
        "authority=shop.EXAMPLE:443",
        "authority~'SHOP[.]example:[0-9]+'",
        "header[Host]=Shop.example:443 and header[host]~'Shop.*' and header[host] exists",
        "header[X-User]='alice,bob'",
        "header[x-user] exists",
        "header[x-empty]=''",
        "not header[x-none] exists",
        "response.header[retry-after]=1",
        "status=503 and status=5xx and status>=500 and status<504",
        "latency>499ms and latency<=0.5s",
        "grpc.status=UNAVAILABLE and grpc.status=14 and grpc.status>0",
        "source.address=10.0.0.0/8 and source.principal=spiffe://mesh/cart",
        "body*=upstream and response.body*=healthy and not request.body*=healthy",
        "request.json['order.items[0].id']=7",
        "request.json['order.items[*].id']=x",
        "request.json[order.paid]=true and not request.json[order.paid]=1",
        "request.json[order.note]=null and request.json[order.note] exists",
        "not request.json[order.none]=null",
        "first(3)",
        "sample(100%)",
        "(method=GET or status=5xx) and not (path=/ or path=/x)",
    ],
)
def test_what_holds(text: str) -> None:
    assert asked(text)


@pytest.mark.parametrize(
    "text",
    [
        "method=post",
        "path=/orders/",
        "path like /orders",
        "path~orders",
        "header[x-user]=alice",
        "header[host]=shop.example:443",
        "not header[host] exists",
        "response.header[host] exists",
        "status=4xx",
        "latency>500ms",
        "grpc.method^=orders",
        "source.address=11.0.0.0/8",
        "trace_id=4bf92f3577b34da6a3ce929d0e0e4736",
        "response.json[a] exists",
        "request.json[order.paid]='true'",
        "not all",
    ],
)
def test_what_does_not_hold(text: str) -> None:
    assert not asked(text)


def test_what_is_missing_fulfils_no_condition() -> None:
    half = exchange(response=None, incomplete=True)
    for text in ("status>=100", "latency>=0s", "response.body*=a", "grpc.status>=0"):
        assert not matches(parse(text), half)
    assert matches(parse("not status=200"), half)


def test_a_sample_is_a_share() -> None:
    step = (1 << 52) // 1000
    seen = [matches(parse("sample(2.5%)"), at(each * step + step // 2)) for each in range(1000)]
    assert seen.count(True) == 25


TRACEPARENT = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
B3 = ("x-b3-traceid", b"4BF92F3577B34DA6A3CE929D0E0E4736")
REQUEST_ID = ("x-request-id", b"3fa85f64-5717-4562-b3fc-2c963f66afa6")


@pytest.mark.parametrize(
    ("headers", "percent"),
    [
        # Never to change: a trace passes proxies of several versions of this.
        ((TRACEPARENT,), 41.51),
        ((REQUEST_ID, B3), 41.51),
        ((("b3", B3[1] + b"-1-1"),), 41.51),
        ((REQUEST_ID,), 76.79),
        ((("x-request-id", REQUEST_ID[1].replace(b"-4562", b"-9562")),), 76.79),
    ],
)
def test_a_sample_has_all_of_a_trace_or_nothing(headers: Pairs, percent: float) -> None:
    for trace_id in (0, (1 << 52) - 1):
        seen = replace(at(trace_id), request=Message(headers))
        for rate, is_in in ((percent + 0.01, True), (percent - 0.01, False)):
            expr = parse(f"sample({rate:.2f}%)")
            assert (in_proxy(expr, seen), early(expr, seen), matches(expr, seen)) == (is_in,) * 3


def test_a_sample_of_ids_that_follow_each_other_is_a_share_of_them() -> None:
    asked_of = [
        replace(at(0), request=Message((("x-request-id", str(number).encode()),)))
        for number in range(10_000, 11_000)
    ]
    for percent in (1, 10, 50):
        found = sum(matches(parse(f"sample({percent}%)"), each) for each in asked_of)
        assert 0.7 * 10 * percent < found < 1.3 * 10 * percent


def test_a_sample_of_what_has_lost_its_id_is_undecided() -> None:
    lost = replace(at(0), request=None)
    masked = replace(at(0), request=Message((("traceparent", b"[redacted]"),)))
    for seen in (lost, masked):
        assert not matches(parse("sample(50%)"), seen)
        assert not matches(parse("not sample(50%)"), seen)
    assert matches(parse("sample(50%)"), masked, "1")


def at(trace_id: int) -> Exchange:
    whole = exchange()
    return Exchange("tap-1", whole.node, trace_id, whole.request, whole.response, 0.0, 1.0)
