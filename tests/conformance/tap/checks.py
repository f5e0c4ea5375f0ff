"""What is tried on every driver: one check for each `Can`, which says whether it can."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from envoy_tap.core.annotations import taken_off
from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.session import Limits, Session
from envoy_tap.drivers.port import Can
from tests.conformance.tap.rigs import ROUTE
from tests.tap.building import session
from tests.tap.proxied import Tapped

Check = Callable[[Tapped], Awaitable[bool]]
CHECKS: dict[Can, Check] = {}
EVERYTHING = bytes(range(256))
SECRET = "s3cr3t"  # noqa: S105 - made up


def checks(can: Can) -> Callable[[Check], Check]:
    def kept(check: Check) -> Check:
        CHECKS[can] = check
        return check

    return kept


def target(
    predicate: str = "all", tap_id: str = "aaaaaaaaaaaa", *, body_bytes: int = 64 << 10, **more: Any
) -> Session:
    return session(tap_id, predicate, now_s=time.time(), limits=Limits(body_bytes=body_bytes), **more)


async def one(
    at: Tapped, wanted: Session, start: str = "GET /orders HTTP/1.1", *headers: str, body: bytes = b""
) -> Exchange:
    """Return what comes out of one request, once *wanted* is in place."""
    await arm(at, wanted)
    await at.ask(start, *headers, body=body)
    return taken_off(await at.sink.next())[0]


async def arm(at: Tapped, *wanted: Session) -> None:
    at.upstream.__init__()  # type: ignore[misc]
    at.slot.set(*wanted)
    assert await at.settled() == ""
    at.payloads.clear()


def halves(exchange: Exchange) -> tuple[Message, Message]:
    return exchange.request or Message(), exchange.response or Message()


@checks(Can.BOTH_HALVES)
async def both_halves(at: Tapped) -> bool:
    found = await one(at, target(), "POST /orders?a=1 HTTP/1.1", "x-a: b", body=b"question")
    request, response = halves(found)
    sent = (request.first(":path"), request.first("x-a"), request.body)
    return (*sent, response.first(":status"), response.body) == (
        b"/orders?a=1",
        b"b",
        b"question",
        b"200",
        b"pong",
    )


@checks(Can.ONLY_TARGETED)
async def only_targeted(at: Tapped) -> bool:
    await arm(at, target("path^=/orders"))
    await at.ask("POST /other HTTP/1.1", "x-note: hidden", body=b"hidden")
    await at.ask("GET /orders HTTP/1.1")
    await at.sink.next()
    return b"hidden" not in b"".join(at.payloads)


@checks(Can.LOCAL_REPLY)
async def local_reply(at: Tapped) -> bool:
    await arm(at, target())
    at.upstream.answer = b""
    await at.ask("POST /orders HTTP/1.1", body=b"question")
    request, response = halves(await at.sink.next())
    return (request.body, response.first(":status")) == (b"question", b"503")


@checks(Can.BINARY)
async def binary(at: Tapped) -> bool:
    await arm(at, target())
    at.upstream.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 256\r\n\r\n" + EVERYTHING
    await at.ask("POST /orders HTTP/1.1", body=EVERYTHING)
    return [half.body for half in halves(await at.sink.next())] == [EVERYTHING, EVERYTHING]


@checks(Can.LARGE_BODY)
async def large_body(at: Tapped) -> bool:
    await arm(at, target(body_bytes=2 << 20))
    whole = b"0123456789abcdef" * 65536
    at.upstream.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(whole) + whole
    await at.ask("POST /orders HTTP/1.1", body=whole)
    found = await at.sink.next()
    return [half.body for half in halves(found)] == [whole, whole] and not found.truncated


@checks(Can.CUT_BODY)
async def cut_body(at: Tapped) -> bool:
    found = await one(at, target(body_bytes=3), "POST /orders HTTP/1.1", body=b"?!?#rest")
    return (
        [half.body for half in halves(found)] == [b"?!?", b"pon"] and found.truncated and not found.incomplete
    )


@checks(Can.CUT_IN_PROXY)
async def cut_in_proxy(at: Tapped) -> bool:
    await one(at, target(body_bytes=3), "POST /orders HTTP/1.1", body=b"?!?#rest")
    return b"#rest" not in b"".join(at.payloads)


@checks(Can.TRAILERS)
async def trailers(at: Tapped) -> bool:
    await arm(at, target())
    chunked = "transfer-encoding: chunked"
    at.upstream.answer = f"HTTP/1.1 200 OK\r\n{chunked}\r\n\r\n4\r\npong\r\n0\r\nx-sum: 1\r\n\r\n".encode()
    await at.ask("POST /orders HTTP/1.1", chunked, body=b"4\r\nping\r\n0\r\nx-sum: 2\r\n\r\n")
    request, response = halves(await at.sink.next())
    return (request.trailers, response.trailers) == ((("x-sum", b"2"),), (("x-sum", b"1"),))


@checks(Can.RESET)
async def reset(at: Tapped) -> bool:
    await arm(at, target())
    at.upstream.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"
    await at.ask("GET /broken HTTP/1.1")
    while not at.sink.waiting:
        # A half that waits for the other is given up after a minute; here as soon as it is whole.
        at.give_up()
        await asyncio.sleep(0.02)
    return (await at.sink.next()).incomplete


@checks(Can.SEVERAL)
async def several(at: Tapped) -> bool:
    small, whole = target("path^=/orders", "aaaaaaaaaaaa", body_bytes=3), target("all", "bbbbbbbbbbbb")
    await arm(at, small, whole)
    await at.ask("POST /orders HTTP/1.1", body=b"question")
    found = {each.tap_id: halves(each)[0].body for each in (await at.sink.next(), await at.sink.next())}
    return found == {small.id: b"que", whole.id: b"question"}


@checks(Can.REDACTED_BEFORE)
async def redacted_before(at: Tapped) -> bool:
    json = f'{{"password": "{SECRET}"}}'.encode()
    headers = (f"authorization: Bearer {SECRET}", "content-type: application/json")
    await one(at, target(), "POST /orders?token=s3cr3t HTTP/1.1", *headers, body=json)
    return SECRET.encode() not in b"".join(at.payloads)


@checks(Can.TARGETS_BY_ADDRESS)
async def targets_by_address(at: Tapped) -> bool:
    near, far = (
        target("source.address=127.0.0.0/8", "aaaaaaaaaaaa"),
        target("source.address=10.0.0.0/8", "bbbbbbbbbbbb"),
    )
    await arm(at, near, far)
    await at.ask()
    await at.ask()
    return [(await at.sink.next()).tap_id, (await at.sink.next()).tap_id] == [near.id, near.id]


@checks(Can.ADDRESS)
async def address(at: Tapped) -> bool:
    return (await one(at, target())).source_address.startswith("127.0.0.1:")


@checks(Can.PROTOCOL)
async def protocol(at: Tapped) -> bool:
    found = (await one(at, target())).facts
    return (found.protocol, found.local_address) == ("HTTP/1.1", f"127.0.0.1:{at.envoy.port}")


@checks(Can.ROUTE)
async def route(at: Tapped) -> bool:
    return (await one(at, target())).facts.route == ROUTE


@checks(Can.UPSTREAM)
async def upstream(at: Tapped) -> bool:
    right = (await one(at, target())).facts
    await arm(at, target())
    at.upstream.answer = b""
    await at.ask()
    broken = taken_off(await at.sink.next())[0].facts
    is_right = right.cluster == "upstream" and right.upstream.startswith("127.0.0.1:")
    return is_right and (right.response_flags, broken.response_flags) == ("-", "UC")


@checks(Can.LATENCY)
async def latency(at: Tapped) -> bool:
    await arm(at, target())
    at.upstream.delay_s = 0.2
    await at.ask()
    found = taken_off(await at.sink.next())[0]
    # By arrival, where the proxy does not tell its own times.
    return 0.1 <= found.latency_s < 60
