"""A predicate means the same in the proxy and in the collector, as far as the proxy sees; and never less there."""

from typing import Any

import pytest
from hypothesis import given

from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.predicate import Expr, early, matches, parse
from envoy_tap.core.predicate.lua import compiled, decisions
from tests.tap.building import exchange
from tests.tap.lua import Lua
from tests.tap.predicates import combined, early_conditions, exchanges, late_conditions

RUN = Lua().predicate()


def in_proxy(expr: Expr, seen: Exchange) -> Any:
    return RUN(compiled(expr), seen)


@given(combined(early_conditions), exchanges())
def test_what_the_proxy_can_decide_it_decides_like_the_collector(expr: Expr, seen: Exchange) -> None:
    decision = early(expr, seen)
    assert decision is not None
    assert in_proxy(expr, seen) is decision
    assert matches(expr, seen) is decision


@given(combined(early_conditions | late_conditions), exchanges())
def test_the_proxy_lets_through_exactly_what_is_not_decided_against(expr: Expr, seen: Exchange) -> None:
    decision = early(expr, seen)
    assert in_proxy(expr, seen) is (decision is not False)
    assert decision is None or matches(expr, seen) is decision


@given(combined(early_conditions | late_conditions), exchanges())
def test_what_the_proxy_found_is_believed_where_it_redacted_and_there_only(
    expr: Expr, seen: Exchange
) -> None:
    bits = RUN(decisions(expr), seen).decode()
    assert matches(expr, seen, bits) is matches(expr, seen)


def test_a_redacted_header_is_compared_by_what_the_proxy_found() -> None:
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


def at(trace_id: int) -> Exchange:
    whole = exchange()
    return Exchange("tap-1", whole.node, trace_id, whole.request, whole.response, 0.0, 1.0)
