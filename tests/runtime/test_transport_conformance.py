"""One suite for every transport: what a handler and a caller may rely on, whichever serves."""

import asyncio
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import grpc
import pytest

from envoy_sidecar.transport import grpcio, native
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.batching import MAX_MESSAGE_BYTES, answer_batch
from envoy_sidecar.transport.choose import TransportName
from envoy_sidecar.transport.grpcio import GrpcioTransport
from envoy_sidecar.transport.port import Answer, Call, ListenError, UnaryHandler
from tests.runtime.serving import (
    FAIL,
    NONE,
    NOT_SERVING,
    RAISE,
    SERVICE,
    SERVING,
    SHORT,
    Running,
    check,
    running,
    say,
    streams,
    unary,
    until,
    watch,
)

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_every_one_of_many_concurrent_calls_gets_its_own_answer(server: Running) -> None:
    channels = [server.channel() for _ in range(4)]
    payloads = [f"call-{number}".encode() for number in range(400)]
    answers = await asyncio.gather(*(say(channels[i % 4], payload) for i, payload in enumerate(payloads)))
    assert answers == payloads
    for channel in channels:
        await channel.close()


async def test_what_arrives_while_a_batch_is_answered_becomes_the_next_batch(server: Running) -> None:
    server.echo.hold()
    async with server.channel() as channel:
        first = asyncio.create_task(say(channel, b"first"))
        assert await asyncio.to_thread(server.echo.entered.wait, 10)
        rest = [asyncio.create_task(say(channel, b"%d" % number)) for number in range(20)]
        # An answer to an unknown method proves that the server has read the frames before it.
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await unary(channel, f"/{SERVICE}/Unknown")(b"")
        server.echo.released.set()
        await asyncio.gather(first, *rest)
    sizes = [len(batch) for batch in server.echo.batches]
    assert sum(sizes) == 21
    assert sizes[0] == 1
    assert max(sizes) > 1


async def test_a_passed_deadline_fails_that_call_and_no_other(server: Running) -> None:
    server.echo.hold()
    async with server.channel() as channel:
        patient = asyncio.create_task(say(channel, b"patient"))
        assert await asyncio.to_thread(server.echo.entered.wait, 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(channel, b"hasty", timeout_s=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if isinstance(server.transport, GrpcioTransport):
            await until(lambda: server.in_flight == 1)
        server.echo.released.set()
        assert await patient == b"patient"
        assert await say(channel, b"after") == b"after"
    if isinstance(server.transport, GrpcioTransport):
        payloads = [call.payload for batch in server.echo.batches for call in batch]
        assert payloads == [b"patient", b"after"], "nobody waits for what it would decide"


async def test_a_cancelled_call_leaves_the_server_serving(server: Running) -> None:
    server.echo.hold()
    async with server.channel() as channel:
        call = unary(channel)(b"cancelled")
        assert await asyncio.to_thread(server.echo.entered.wait, 10)
        call.cancel()
        server.echo.released.set()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await say(channel, b"after") == b"after"


async def test_an_oversized_message_is_refused_and_never_reaches_the_handler(server: Running) -> None:
    async with server.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(channel, b"x" * (MAX_MESSAGE_BYTES + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await say(channel, b"after") == b"after"
    assert [call.payload for batch in server.echo.batches for call in batch] == [b"after"]


async def test_the_callers_traceparent_reaches_the_handler(server: Running) -> None:
    sent: dict[bytes, str | None] = {
        b"traced": TRACEPARENT,
        b"later version": TRACEPARENT.replace("00", "cc", 1) + "-more",
        b"cut": TRACEPARENT[:-1],
        b"shapeless": "x" * len(TRACEPARENT),
        b"absent": None,
    }
    async with server.channel() as channel:
        for payload, value in sent.items():
            metadata = (("x-other", "y"), *((("traceparent", value),) if value else ()))
            await unary(channel)(payload, metadata=metadata)
    calls = {call.payload: call.traceparent for batch in server.echo.batches for call in batch}
    assert calls == {**sent, b"cut": None, b"shapeless": None}


@pytest.mark.parametrize("code", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_a_failure_reaches_the_caller_with_its_code_and_message(server: Running, code: str) -> None:
    async with server.channel() as channel:
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)) as caught:
            await say(channel, FAIL + code.encode())
    if isinstance(caught.value, grpc.aio.AioRpcError):
        assert caught.value.code().name == code
        assert caught.value.details() == f"asked for {code}"
    else:
        assert code == "CANCELLED"


async def test_a_failures_message_may_hold_any_text(server: Running) -> None:
    message = "Größe: 100%\r\ngrpc-status: 0"
    server.echo.message = message
    async with server.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(channel, FAIL + b"ABORTED")
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert caught.value.details() == message


@pytest.mark.parametrize("payload", [RAISE, SHORT, NONE], ids=["raises", "answers-too-few", "answers-none"])
async def test_a_handler_that_misbehaves_is_internal_and_the_server_goes_on(
    server: Running, payload: bytes
) -> None:
    async with server.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(channel, payload)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "asked to raise" not in (caught.value.details() or "")
        assert await say(channel, b"after") == b"after"


@pytest.mark.parametrize("path", [f"/{SERVICE}/Unknown", "/test.Unknown/Say"])
async def test_an_unknown_method_is_unimplemented(server: Running, path: str) -> None:
    async with server.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unary(channel, path)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_is_served_with_its_metadata(server: Running) -> None:
    async with server.channel() as channel:
        stream = streams(channel)(iter([b"a", b"b"]), metadata=(("x-who", "me"),))
        assert [message async for message in stream] == [b"1:a:me", b"2:b:me"]


async def test_a_stream_handler_that_raises_is_internal_and_keeps_the_reason_to_itself(
    server: Running,
) -> None:
    async with server.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [message async for message in streams(channel)(iter([RAISE]))]
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "asked to raise" not in (caught.value.details() or "")
        assert [message async for message in streams(channel)(iter([b"a"]))] == [b"1:a:"]


async def test_health_answers_for_the_server_and_for_the_service(server: Running) -> None:
    async with server.channel() as channel:
        for service in ("", SERVICE):
            assert await check(channel, service) == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, "test.Unknown")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_health_watcher_sees_the_change(server: Running) -> None:
    async with server.channel() as channel:
        statuses = watch(channel, SERVICE)
        assert await anext(statuses) == SERVING
        await server.health.set_serving(False)
        assert await anext(statuses) == NOT_SERVING
        await server.health.set_serving(True)
        assert await anext(statuses) == SERVING
        await statuses.aclose()


async def test_a_drain_under_load_fails_no_call(server: Running) -> None:
    """Callers that stop when health says so, as Envoy does, never see an error."""
    answered = 0
    warm = asyncio.Event()
    stopping = asyncio.Event()

    async def caller() -> None:
        nonlocal answered
        async with server.channel() as channel:
            while not stopping.is_set():
                assert await say(channel, b"load") == b"load"
                answered += 1
                if answered >= 200:
                    warm.set()

    async def watcher() -> None:
        async with server.channel() as channel:
            async for status in watch(channel, SERVICE):
                if status == NOT_SERVING:
                    break
            stopping.set()

    async def drain() -> None:
        await warm.wait()
        await server.health.set_serving(False)
        await server.transport.stop(10.0)

    await asyncio.gather(watcher(), drain(), *(caller() for _ in range(8)))


async def test_stop_waits_for_the_call_in_flight(server: Running) -> None:
    server.echo.hold()
    async with server.channel() as channel:
        call = asyncio.create_task(say(channel, b"slow"))
        assert await asyncio.to_thread(server.echo.entered.wait, 10)
        stopping = asyncio.create_task(server.transport.stop(10.0))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        server.echo.released.set()
        assert await call == b"slow"
        await stopping


async def test_a_taken_port_fails_loudly(server: Running, name: TransportName) -> None:
    with pytest.raises(ListenError, match="another server"):
        async with running(name, server.address):
            pass
    async with server.channel() as channel:
        assert await say(channel, b"still here") == b"still here"


async def test_a_stale_socket_is_replaced(name: TransportName, tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with running(name, Address(path=str(path))) as server, server.channel() as channel:
        assert await say(channel, b"hello") == b"hello"


@pytest.mark.parametrize("what", ["file", "no-folder"])
async def test_a_socket_path_that_cannot_be_bound_fails_loudly(
    name: TransportName, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "plain" if what == "file" else tmp_path / "missing" / "x.sock"
    if what == "file":
        path.write_text("precious")
    with pytest.raises(ListenError, match=str(path if what == "file" else path.parent)):
        async with running(name, Address(path=str(path))):
            pass
    if what == "file":
        assert path.read_text() == "precious"


async def test_a_service_may_have_an_answer_for_what_is_too_large(
    name: TransportName, address: Address
) -> None:
    large = b"x" * (MAX_MESSAGE_BYTES + 1)
    async with running(name, address, too_large=b"denied") as server, server.channel() as channel:
        assert await say(channel, large) == b"denied"
        assert await say(channel, large[1:]) == large[1:]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [message async for message in streams(channel)(iter([b"a", large]))]
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await say(channel, b"after") == b"after"
        payloads = [call.payload for batch in server.echo.batches for call in batch]
    assert payloads == [large[1:], b"after"]


async def test_a_fault_of_the_dispatcher_fails_that_batch_and_no_other(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_handler: UnaryHandler, _calls: Sequence[Call]) -> Sequence[Answer]:
        raise RuntimeError("a fault of ours")

    async with server.channel() as channel:
        for module in (native, grpcio):
            monkeypatch.setattr(module, "answer_batch", broken)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await say(channel, b"unlucky")
            assert caught.value.code() is grpc.StatusCode.INTERNAL
        monkeypatch.undo()
        assert await say(channel, b"after") == b"after"
    started_s = time.monotonic()
    await server.transport.stop(10.0)
    assert time.monotonic() - started_s < 5, "it became quiet again"


async def test_a_batch_that_was_half_answered_keeps_those_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_raises(handler: UnaryHandler, calls: Sequence[Call]) -> Sequence[Answer]:
        answers = list(answer_batch(handler, calls))
        return [answers[0], cast("Answer", "no answer"), *answers[2:]] if len(answers) > 1 else answers

    monkeypatch.setattr(native, "answer_batch", second_raises)
    async with running("native", Address(path=str(tmp_path / "s"))) as server, server.channel() as channel:
        server.echo.hold()
        first = asyncio.create_task(say(channel, b"first"))
        assert await asyncio.to_thread(server.echo.entered.wait, 10)
        rest = [asyncio.create_task(say(channel, b"%d" % number)) for number in range(3)]
        await asyncio.sleep(0.3)
        server.echo.released.set()
        assert await first == b"first"
        outcomes = await asyncio.gather(*rest, return_exceptions=True)
        failed = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
        assert len(failed) == 2
        assert {one.code() for one in failed} == {grpc.StatusCode.INTERNAL}
        assert await say(channel, b"after") == b"after"
