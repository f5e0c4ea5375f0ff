"""A stock Envoy with the tap slot: what is targeted comes out whole and redacted, nothing else comes out at all."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.core.v3 import DataSource, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.google.protobuf import Any as Packed

from envoy_tap.core.annotations import taken_off
from envoy_tap.core.exchange import Exchange, Message, Node
from envoy_tap.core.node import Proxy
from envoy_tap.core.policy import Policy
from envoy_tap.core.predicate import Condition, Field, Op, all_of, matches
from envoy_tap.core.redaction.rules import Redaction, Style
from envoy_tap.core.session import Limits, Session
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup
from tests.tap.building import session
from tests.tap.proxied import RELOADS, Tapped, tapped

SECRET = "s3cr3t"  # noqa: S105 - it is to be seen nowhere


def target(
    tap_id: str = "tap-1",
    predicate: str = "all",
    *,
    for_s: int = 600,
    body_bytes: int = 64 << 10,
    rate_per_s: int = 100,
    **more: Any,
) -> Session:
    limits = Limits(body_bytes=body_bytes, rate_per_s=rate_per_s)
    return session(tap_id, predicate, now_s=time.time(), for_s=for_s, limits=limits, **more)


def halves(exchange: Exchange) -> tuple[Message, Message]:
    assert exchange.request is not None
    assert exchange.response is not None
    return exchange.request, exchange.response


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Tapped]:
    async with tapped(tmp_path) as at:
        yield at


async def test_a_targeted_exchange_is_captured_and_no_other(at: Tapped) -> None:
    at.slot.set(
        target(predicate="method=POST and path^=/orders and authority=Example.org and header[X-User]=alice")
    )
    assert await at.settled() == ""
    untargeted = [
        ("GET /orders HTTP/1.1", "x-user: alice"),
        ("POST /order HTTP/1.1", "x-user: alice"),
        ("POST /?/orders HTTP/1.1", "x-user: alice"),
        ("POST /orders HTTP/1.1", "x-user: bob"),
        ("POST /orders HTTP/1.1", "x-user: alice", "x-user: alice"),
        ("POST /orders HTTP/1.1",),
    ]
    for start, *headers in untargeted:
        assert (await at.ask(start, *headers, body=b"not this")).endswith(b"pong")
    await at.ask("POST /orders HTTP/1.1", "x-user: alice", host="example.net", body=b"not this")

    at.upstream.answer = (
        b"HTTP/1.1 201 Created\r\ncontent-length: 6\r\nset-cookie: a=s3cr3t\r\nset-cookie: b=s3cr3t\r\n"
        b"x-answer: 42\r\n\r\nanswer"
    )
    answer = await at.ask(
        "POST /orders/1?page=2 HTTP/1.1",
        "x-user: alice",
        f"Authorization: Bearer {SECRET}",
        f"cookie: session={SECRET}",
        body=b"question",
    )
    assert answer.count(SECRET.encode()) == 2
    captured = await at.sink.next()
    assert (captured.tap_id, captured.node) == ("tap-1", Node("edge-1", "edge"))
    assert not captured.truncated
    assert not captured.incomplete
    request, response = halves(captured)
    assert (request.first(":method"), request.first(":path")) == (b"POST", b"/orders/1?page=2")
    assert (request.first(":authority"), request.first("x-user")) == (b"example.org", b"alice")
    assert (request.first("authorization"), request.first("cookie")) == (b"[redacted]", b"[redacted]")
    assert request.body == b"question"
    assert (response.first(":status"), response.first("x-answer")) == (b"201", b"42")
    assert [value for name, value in response.headers if name == "set-cookie"] == [b"[redacted]"] * 2
    assert response.body == b"answer"
    # Nothing of the seven before came out, and no secret left the proxy.
    sent = b"".join(at.payloads)
    assert b"not this" not in sent
    assert b"s3cr3t" not in sent
    assert len({payload for payload in at.payloads if b"edge-1" in payload}) == 2


async def test_a_secret_stays_in_the_proxy_however_clients_write_it(at: Tapped) -> None:
    rules = Redaction()
    at.slot.set(target(redaction=replace(rules, names=rules.names | {"größe"})))
    assert await at.settled() == ""
    grpc = b"\n\x0fbob@example.org"
    frame = b"\x00\x00\x00\x00" + bytes([len(grpc)]) + grpc
    for start, content_type, body in (
        (f'GET /q?a=1&password=a"<{SECRET}&b=2 HTTP/1.1', "", b""),
        (f"GET /q?next=%2Fcb%3Fcode%3D{SECRET} HTTP/1.1", "", b""),
        ("POST / HTTP/1.1", "application/json", json.dumps({"Größe": SECRET}).encode()),
        ("POST / HTTP/1.1", "application/x-www-form-urlencoded", b"pan=4111%201111%201111%201111"),
        ("POST /a.B/C HTTP/1.1", "application/grpc", frame + frame),
    ):
        headers = [f"content-type: {content_type}"] if content_type else []
        await at.ask(start, *headers, body=body)
        request, _ = halves(await at.sink.next())
    assert request.body == (frame + frame).replace(b"bob@example.org", b"[redacted]*****")
    sent = b"".join(at.payloads)
    for secret in (SECRET.encode(), b"%201111", b"bob@"):
        assert secret not in sent


async def test_a_target_that_expires_stops_capturing_and_the_next_one_starts(at: Tapped) -> None:
    at.slot.set(target("short", for_s=2))
    assert await at.settled() == ""
    await at.ask()
    assert (await at.sink.next()).tap_id == "short"
    await at.ecds.changed.until(
        lambda: [(node.tap_ids, node.settled) for node in at.ecds.nodes()] == [((), True)]
    )
    await at.ask("GET /after HTTP/1.1")
    at.slot.set(target("next"))
    assert await at.settled() == ""
    await at.ask("GET /next HTTP/1.1")
    captured = await at.sink.next()
    assert (captured.tap_id, halves(captured)[0].first(":path")) == ("next", b"/next")


async def test_a_script_past_its_end_captures_nothing_whoever_is_there_to_tell_it(tmp_path: Path) -> None:
    def late(name: str, sessions: Sequence[Session], proxy: Proxy) -> TypedExtensionConfig:
        return slot_resource(
            name,
            [replace(each, expires_at_s=1) if each.id == "expired" else each for each in sessions],
            proxy,
        )

    async with tapped(tmp_path, build=late) as at:
        at.slot.set(target("expired"))
        assert await at.settled() == ""
        await at.ask()
        at.slot.set(target("valid"))
        assert await at.settled() == ""
        await at.ask()
        assert (await at.sink.next()).tap_id == "valid"
        assert all(b"expired" not in payload for payload in at.payloads)


async def test_a_proxy_that_loses_the_service_serves_on_and_goes_back_to_the_noop(tmp_path: Path) -> None:
    async with tapped(tmp_path, ttl_s=1) as at:
        at.slot.set(target())
        assert await at.settled() == ""
        await at.ask()
        await at.sink.next()
        reloads = at.reloads
        await at.kill_service()
        assert (await at.ask()).endswith(b"pong")
        await asyncio.to_thread(at.envoy.until_stat, RELOADS, reloads + 1)
        assert (await at.ask()).endswith(b"pong")


async def test_heartbeats_change_nothing_in_the_proxy(tmp_path: Path) -> None:
    async with tapped(tmp_path, ttl_s=1) as at:
        at.slot.set(target())
        assert await at.settled() == ""
        acks, reloads = at.ecds.updates.value(("ack",)), at.reloads
        await at.ecds.changed.until(lambda: at.ecds.updates.value(("ack",)) >= acks + 4)
        await at.ask()
        assert (await at.sink.next()).tap_id == "tap-1"
        assert at.reloads == reloads


async def test_a_wrong_resource_is_refused_with_envoys_words_and_traffic_passes(tmp_path: Path) -> None:
    def wrong(name: str, sessions: Sequence[Session], proxy: Proxy) -> TypedExtensionConfig:
        wanted = [each.id for each in sessions]
        if wanted == ["syntax"]:
            script = Lua(default_source_code=DataSource(inline_string="local x =\nreturn return"))
            return TypedExtensionConfig(name=name, typed_config=Packed.pack(script))
        if wanted == ["type"]:
            return TypedExtensionConfig(name=name, typed_config=Packed.pack(Buffer()))
        return slot_resource(name, sessions, proxy)

    async with tapped(tmp_path, build=wrong) as at:
        at.slot.set(target("syntax"))
        assert "script load error" in await at.settled()
        assert (await at.ask()).endswith(b"pong")
        at.slot.set(target("type"))
        assert "envoy.extensions.filters.http.buffer.v3.Buffer" in await at.settled()
        at.slot.set(target("right"))
        assert await at.settled() == ""
        await at.ask()
        assert (await at.sink.next()).tap_id == "right"
        assert at.ecds.updates.value(("nack",)) == 2


async def test_no_string_of_a_target_is_code(tmp_path: Path) -> None:
    path = "/\"]]--[['\\@CLUSTER@\\0\\n%1"
    hostile = f"{path} @TAP_ID@ 1é\U0001d51e"
    async with tapped(tmp_path, node_id=f"edge\n{hostile}") as at:
        wanted = Condition(Field("header", "x-a"), Op.EQUALS, hostile)
        at.slot.set(
            replace(target(hostile), predicate=all_of(Condition(Field("path"), Op.EQUALS, path), wanted))
        )
        assert await at.settled() == ""
        await at.ask(f"GET {path} HTTP/1.1", f"x-a: {hostile}")
        captured = await at.sink.next()
        assert captured.tap_id == hostile
        assert captured.node == Node(f"edge\n{hostile}", "edge")
        assert halves(captured)[0].first("x-a") == hostile.encode()


async def test_bytes_come_out_as_they_are(at: Tapped) -> None:
    at.slot.set(target(body_bytes=3 << 20))
    assert await at.settled() == ""
    # More than one piece, and no more than a starved machine takes within the timeout of the call.
    everything = bytes(range(256)) * 5_000
    at.upstream.answer = (
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-b: \xe9\xff\r\n\r\n" % len(everything)
    ) + everything
    await at.ask_raw(
        b"PUT /orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-a: \xe9\xff\r\nx-empty:\r\n"
        b"content-length: %d\r\n\r\n" % len(everything) + everything
    )
    captured = await at.sink.next()
    request, response = halves(captured)
    assert (request.first("x-a"), request.first("x-empty")) == (b"\xe9\xff", b"")
    assert response.first("x-b") == b"\xe9\xff"
    # A call that was given up leaves a half missing, and marked; megabytes of difference say nothing.
    assert not captured.incomplete
    assert request.body == response.body == everything
    assert not captured.truncated


async def test_bodies_are_cut_in_the_proxy(at: Tapped) -> None:
    at.slot.set(target(body_bytes=3))
    assert await at.settled() == ""
    await at.ask("POST /orders HTTP/1.1", body=b"?!?#secret")
    captured = await at.sink.next()
    assert [message.body for message in halves(captured)] == [b"?!?", b"pon"]
    assert captured.truncated
    assert not captured.incomplete
    assert b"?!?#" not in b"".join(at.payloads)


async def test_no_bodies_are_asked_for_and_none_come(at: Tapped) -> None:
    at.slot.set(target(body_bytes=0))
    assert await at.settled() == ""
    await at.ask("POST /orders HTTP/1.1", body=b"question")
    captured = await at.sink.next()
    assert [message.body for message in halves(captured)] == [b"", b""]
    assert captured.truncated


async def test_an_exchange_without_bodies_is_complete(at: Tapped) -> None:
    at.slot.set(target())
    assert await at.settled() == ""
    at.upstream.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    await at.ask()
    captured = await at.sink.next()
    assert halves(captured)[1].first(":status") == b"204"
    assert not captured.truncated
    assert not captured.incomplete


async def test_an_answer_of_the_proxy_itself_is_captured(at: Tapped) -> None:
    at.slot.set(target())
    assert await at.settled() == ""
    at.upstream.answer = b""
    assert b" 503 " in await at.ask("POST /orders HTTP/1.1", body=b"question")
    captured = await at.sink.next()
    request, response = halves(captured)
    assert (request.body, response.first(":status")) == (b"question", b"503")


async def test_the_same_request_id_twice_at_a_time_gives_two_exchanges(at: Tapped) -> None:
    at.slot.set(target())
    assert await at.settled() == ""
    request_id = "x-request-id: 7f000001-0000-4000-8000-000000000001"
    for path in ("/a", "/b"):
        await at.ask(f"GET {path} HTTP/1.1", request_id)
    first, second = await at.sink.next(), await at.sink.next()
    assert first.trace_id != second.trace_id
    assert {halves(each)[0].first(":path") for each in (first, second)} == {b"/a", b"/b"}


async def test_trailers_are_captured_and_redacted(at: Tapped) -> None:
    at.slot.set(target(redaction=Redaction(headers=frozenset({"x-key"}))))
    assert await at.settled() == ""
    chunked = "transfer-encoding: chunked"
    at.upstream.answer = (
        f"HTTP/1.1 200 OK\r\n{chunked}\r\n\r\n4\r\npong\r\n0\r\nx-sum: 1\r\nx-key: {SECRET}\r\n\r\n".encode()
    )
    body = f"4\r\nping\r\n0\r\nx-sum: 2\r\nx-key: {SECRET}\r\n\r\n".encode()
    await at.ask("POST /orders HTTP/1.1", chunked, body=body)
    captured = await at.sink.next()
    request, response = halves(captured)
    assert (request.body, request.trailers) == (b"ping", (("x-sum", b"2"), ("x-key", b"[redacted]")))
    assert (response.body, response.trailers) == (b"pong", (("x-sum", b"1"), ("x-key", b"[redacted]")))
    assert not captured.truncated
    assert SECRET.encode() not in b"".join(at.payloads)


async def test_an_answer_that_comes_before_the_request_ends_is_captured_with_what_there_was(
    at: Tapped,
) -> None:
    at.slot.set(target())
    assert await at.settled() == ""
    at.upstream.awaits_body = False
    answer = await at.ask_raw(b"POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
    assert answer.endswith(b"pong")
    captured = await at.sink.next()
    request, response = halves(captured)
    assert request.first("content-length") == b"100"
    assert b"half".startswith(request.body)
    assert response.body == b"pong"
    assert captured.truncated


async def test_of_a_tunnel_the_headers_are_captured(at: Tapped) -> None:
    at.slot.set(target())
    assert await at.settled() == ""
    upgrade = "connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    at.upstream.answer = f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}frames".encode()
    answer = await at.ask_raw(f"GET /chat HTTP/1.1\r\nhost: a\r\n{upgrade}".encode())
    assert answer.endswith(b"frames")
    captured = await at.sink.next()
    request, response = halves(captured)
    assert (request.first(":path"), response.first(":status")) == (b"/chat", b"101")
    assert request.body == response.body == b""
    assert captured.truncated
    assert not captured.incomplete


async def test_several_sessions_share_the_script_and_each_gets_its_own(at: Tapped) -> None:
    small = target("small", "path^=/orders", body_bytes=3)
    whole = target("whole", 'header[authorization]="Bearer s3cr3t" and sample(100%)')
    at.slot.set(small, whole, target("none", "method=PUT"))
    assert await at.settled() == ""
    await at.ask("POST /orders/1 HTTP/1.1", "authorization: Bearer s3cr3t", body=b"question")
    captured = {each.tap_id: each for each in (await at.sink.next(), await at.sink.next())}
    bodies = {name: [message.body for message in halves(each)] for name, each in captured.items()}
    assert bodies == {"small": [b"que", b"pon"], "whole": [b"question", b"pong"]}
    assert [each.truncated for each in (captured["small"], captured["whole"])] == [True, False]
    assert b"s3cr3t" not in b"".join(at.payloads)
    plain, told = taken_off(captured["whole"])
    assert told.decided == "11"
    assert not matches(whole.predicate, plain)
    assert matches(whole.predicate, plain, told.decided), "the proxy saw the header before it was redacted"
    assert plain.source_address.startswith("127.0.0.1:")
    assert (plain.facts.protocol, plain.facts.local_address) == ("HTTP/1.1", f"127.0.0.1:{at.envoy.port}")
    assert abs(plain.started_s - time.time()) < 60
    assert 0 <= plain.latency_s < 60
    assert all(not name.startswith(":tap-") for message in halves(plain) for name, _ in message.headers)


async def test_a_worker_sends_no_more_than_the_rate_and_tells_what_it_left_out(at: Tapped) -> None:
    at.slot.set(target(rate_per_s=1))
    assert await at.settled() == ""
    skipped = asked = 0
    while not skipped:
        asked += 1
        await at.ask()
        while at.sink.waiting:
            skipped += taken_off(await at.sink.next())[1].skipped
    assert 0 < skipped < asked


async def test_what_policy_forbids_does_not_leave_the_proxy(tmp_path: Path) -> None:
    policy = Policy(never_paths=("/login",), never_headers=frozenset({"x-ssn"}))
    style = Redaction(style=Style.HMAC)
    async with tapped(tmp_path, build=partial(slot_resource, setup=Setup(policy=policy))) as at:
        at.slot.set(target(redaction=style))
        assert await at.settled() == ""
        for path in ("/login", "/x/..//LOGIN?a=1"):
            await at.ask(f"POST {path} HTTP/1.1", body=b"hidden")
        await at.ask("POST /other HTTP/1.1", f"x-ssn: {SECRET}", "authorization: for the collector")
        request = halves(await at.sink.next())[0]
        assert (request.first(":path"), request.first("x-ssn")) == (b"/other", b"[redacted]")
        assert request.first("authorization") == b"for the collector"
        assert b"hidden" not in b"".join(at.payloads)
        assert SECRET.encode() not in b"".join(at.payloads)
