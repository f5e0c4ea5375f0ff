"""Streams go in, exchanges come out at the sink; a sink that fails or is slow costs exchanges, never a proxy's time."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import grpc
import pytest

from envoy_sidecar.transport.port import Peer
from envoy_tap.collector import SERVICE_NAME, Collector, Intake
from envoy_tap.core.assembly import Limits
from envoy_tap.core.events import Loss, Side
from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.session import LATER, Kept, Later
from tests.tap.building import (
    IDENTIFIER,
    NODE,
    REQUEST,
    RESPONSE,
    Clock,
    MemorySink,
    counted,
    half,
    header_map,
    segment,
)
from tests.tap.serving import Served, served

METHOD = f"/{SERVICE_NAME}/StreamTaps"
Method = grpc.aio.StreamUnaryMultiCallable[bytes, bytes]
PEER = Peer("ipv4:127.0.0.1:1")


async def each(payloads: Iterable[bytes]) -> AsyncIterator[bytes]:
    for payload in payloads:
        yield payload


async def send(collector: Collector, payloads: Iterable[bytes]) -> list[bytes]:
    return [answer async for answer in collector.stream_taps(each(payloads), PEER)]


async def send_exchange(collector: Collector, trace_id: int = 7) -> None:
    await send(collector, half(Side.REQUEST, REQUEST, trace_id=trace_id))
    await send(collector, half(Side.RESPONSE, RESPONSE, trace_id=trace_id))


async def call(at: Served, payloads: list[bytes]) -> bytes:
    async with at.channel() as channel:
        method: Method = channel.stream_unary(METHOD)
        return await method(iter(payloads), timeout=30)


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


async def test_an_exchange_sent_over_grpc_is_stored(sink: MemorySink) -> None:
    async with Collector(sink) as collector, served(collector.service()) as at:
        answers = await asyncio.gather(
            call(at, half(Side.REQUEST, REQUEST)), call(at, half(Side.RESPONSE, RESPONSE))
        )
        assert list(answers) == [b"", b""]
    (stored,) = sink.stored
    assert (stored.tap_id, stored.node, stored.trace_id) == ("tap-1", NODE, 7)
    assert (stored.request, stored.response) == (REQUEST, RESPONSE)
    assert not stored.incomplete
    assert sink.closed
    assert counted(collector.exchanges) == {"complete": 1}
    assert counted(collector.dropped) == {}


async def test_a_stream_that_a_proxy_resets_is_incomplete(sink: MemorySink) -> None:
    sent = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for payload in half(Side.REQUEST, REQUEST):
            yield payload
        sent.set()
        await asyncio.Event().wait()

    async with Collector(sink) as collector, served(collector.service()) as at:
        async with at.channel() as channel:
            method: Method = channel.stream_unary(METHOD)
            stream = method(endless())
            await sent.wait()
            # A second stream is answered after all that was sent before it on the same connection.
            await method(iter([]))
            stream.cancel()
        await call(at, half(Side.RESPONSE, RESPONSE))
    (stored,) = sink.stored
    assert stored.incomplete
    assert stored.response == RESPONSE


async def test_garbage_is_counted_and_the_stream_goes_on(sink: MemorySink) -> None:
    async with Collector(sink) as collector:
        request = half(Side.REQUEST, REQUEST)
        assert await send(collector, [b"\xff\xff", *request[:1], b"garbage!", *request[1:]]) == [b""]
        await send(collector, half(Side.RESPONSE, RESPONSE))
    assert [stored.request for stored in sink.stored] == [REQUEST]
    assert counted(collector.dropped) == {"unparseable": 2}


async def test_an_identifier_holds_for_its_own_stream_only(sink: MemorySink) -> None:
    async with Collector(sink) as collector:
        await send(collector, half(Side.REQUEST, REQUEST))
        await send(collector, half(Side.RESPONSE, RESPONSE)[1:])
    assert collector.dropped.value(("unidentified",)) == 2
    (stored,) = sink.stored
    assert stored.response is None


async def test_what_waits_too_long_is_stored_as_incomplete(sink: MemorySink) -> None:
    clock = Clock()
    async with Collector(sink, Limits(timeout_s=60), clock=clock) as collector:
        await send(collector, half(Side.REQUEST, REQUEST))
        collector.expire()
        assert counted(collector.exchanges) == {}
        clock.advance(60)
        collector.expire()
        assert counted(collector.exchanges) == {"incomplete": 1}
    assert [stored.response for stored in sink.stored] == [None]


async def test_what_is_open_at_the_end_is_stored_as_incomplete(sink: MemorySink) -> None:
    async with Collector(sink) as collector:
        await send(collector, half(Side.REQUEST, REQUEST))
    assert [stored.incomplete for stored in sink.stored] == [True]


async def test_a_body_over_the_limit_is_counted_as_truncated(sink: MemorySink) -> None:
    async with Collector(sink, Limits(max_body_bytes=2)) as collector:
        await send_exchange(collector)
    assert counted(collector.exchanges) == {"truncated": 1}


async def test_a_sink_that_fails_is_counted_and_used_again(
    sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.refuses = True
    sink.released.clear()
    async with Collector(sink) as collector:
        await send_exchange(collector, 1)
        await asyncio.to_thread(sink.entered.wait, 30)
        await send_exchange(collector, 2)
        sink.entered.clear()
        with caplog.at_level(logging.ERROR):
            sink.released.set()
            await asyncio.to_thread(sink.entered.wait, 30)
        sink.refuses = False
        await send_exchange(collector, 3)
    assert sink.closed
    assert collector.dropped.value(("sink_error",)) + len(sink.stored) == 3
    assert collector.dropped.value(("sink_error",)) >= 1
    assert 3 in [stored.trace_id for stored in sink.stored]
    assert "could not be stored" in caplog.text


async def test_a_slow_sink_costs_exchanges_and_never_holds_a_stream_up(sink: MemorySink) -> None:
    sink.released.clear()
    async with Collector(sink, max_queued=3) as collector:
        await send_exchange(collector, 0)
        await asyncio.to_thread(sink.entered.wait, 30)
        # The sink holds the first; none of these calls returns before its stream is answered.
        for trace_id in range(1, 11):
            await send_exchange(collector, trace_id)
        assert counted(collector.dropped) == {"queue_full": 7}
        sink.released.set()
    assert [stored.trace_id for stored in sink.stored] == [0, 1, 2, 3]
    assert counted(collector.exchanges) == {"complete": 11}


async def test_the_queue_is_bounded_in_bytes_too(sink: MemorySink) -> None:
    sink.released.clear()
    big = replace(RESPONSE, body=bytes(10_000))
    async with Collector(sink, max_queued_bytes=25_000) as collector:
        for trace_id in range(5):
            await send(collector, half(Side.REQUEST, REQUEST, trace_id=trace_id))
            await send(collector, half(Side.RESPONSE, big, trace_id=trace_id))
        assert counted(collector.dropped) == {"queue_full": 3}
        sink.released.set()
    assert [stored.trace_id for stored in sink.stored] == [0, 1]


class Keeping(Intake):
    """Keeps all as it is, and notes what it is told (by trace id)."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, Kept]] = []
        self.lost: list[tuple[int, Loss]] = []
        self.lost_late: list[int] = []

    def admit(self, exchange: Exchange) -> Exchange | Later | None:
        return exchange

    def fits(self, exchange: Exchange) -> bool:
        raise AssertionError(exchange)

    def admit_late(self, exchange: Exchange, *, fits: bool) -> Exchange | None:
        return exchange if fits else None

    def lose_late(self, exchange: Exchange) -> None:
        self.lost_late.append(exchange.trace_id)

    def redacted(self, exchange: Exchange) -> Exchange:
        return exchange

    def lose(self, exchange: Exchange, loss: Loss) -> None:
        self.lost.append((exchange.trace_id, loss))

    def stored(self, exchange: Exchange, kept: Kept) -> None:
        self.kept.append((exchange.trace_id, kept))


class Unpacking(Keeping):
    """Redacts by filling bodies up to a size, and notes in which order things are done."""

    def __init__(self, sink: MemorySink, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self.waiting_bytes: list[int] = []
        self._sink = sink

    def redacted(self, exchange: Exchange) -> Exchange:
        redacted = len(self.waiting_bytes) + 1
        self.waiting_bytes.append((redacted - len(self._sink.stored)) * self.size_bytes)
        return replace(exchange, response=Message((), bytes(self.size_bytes)), truncated=True)


async def test_what_is_unpacked_is_stored_before_much_more_is(sink: MemorySink) -> None:
    intake = Unpacking(sink, 1 << 20)
    async with Collector(sink, intake=intake) as collector:
        for trace_id in range(32):
            await send_exchange(collector, trace_id)
    assert [stored.trace_id for stored in sink.stored] == list(range(32))
    assert max(intake.waiting_bytes) <= 5 << 20
    # It is counted as it is stored.
    assert [kept.truncated for _, kept in intake.kept] == [True] * 32
    assert min(kept.content_bytes for _, kept in intake.kept) > 1 << 20


class Breaking(Keeping):
    def redacted(self, exchange: Exchange) -> Exchange:
        if exchange.trace_id == 1:
            raise ValueError("a fault")
        return exchange


async def test_a_fault_in_one_exchange_costs_only_those_with_it(sink: MemorySink) -> None:
    intake = Breaking()
    async with Collector(sink, intake=intake) as collector:
        for trace_id in range(3):
            await send_exchange(collector, trace_id)
    assert [stored.trace_id for stored in sink.stored] == [0, 2]
    assert counted(collector.dropped) == {"sink_error": 1}
    assert intake.lost == [(1, Loss.SINK_ERROR)]


async def test_the_end_of_the_service_does_not_wait_for_all_that_is_queued(
    sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    intake = Keeping()
    sink.released.clear()

    async def release() -> None:
        # The sink is busy when the time is up: it is not waited for to be given everything.
        for _ in range(100):
            await asyncio.sleep(0)
        sink.released.set()

    async with Collector(sink, intake=intake, flush_s=0.0) as collector:
        await send_exchange(collector, 0)
        await asyncio.to_thread(sink.entered.wait, 30)
        for trace_id in range(1, 101):
            await send_exchange(collector, trace_id)
        releasing = asyncio.create_task(release())
    await releasing
    assert [stored.trace_id for stored in sink.stored] == [0]
    assert [trace_id for trace_id, _ in intake.kept] == [0]
    assert intake.lost == [(trace_id, Loss.STOPPED) for trace_id in range(1, 101)]
    assert counted(collector.dropped) == {"stopped": 100}
    assert "100 exchanges were not stored" in caplog.text


class Slow(Keeping):
    """Takes its time over every other exchange: until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def admit(self, exchange: Exchange) -> Exchange | Later | None:
        return LATER if exchange.trace_id % 2 else exchange

    def fits(self, exchange: Exchange) -> bool:
        self.entered.set()
        assert self.released.wait(30)
        return exchange.trace_id != 3


async def test_what_takes_long_to_judge_holds_no_stream_up_and_keeps_its_place(sink: MemorySink) -> None:
    intake = Slow()
    async with Collector(sink, intake=intake, max_queued=6) as collector:
        await send_exchange(collector, 1)
        await asyncio.to_thread(intake.entered.wait, 30)
        # It is being judged, and streams are served to their end.
        for trace_id in range(2, 10):
            await send_exchange(collector, trace_id)
        intake.released.set()
    assert [stored.trace_id for stored in sink.stored] == [1, 2, 4, 5, 6, 7]
    assert intake.lost == [(8, Loss.QUEUE_FULL)]
    assert intake.lost_late == [9]
    assert [trace_id for trace_id, _ in intake.kept] == [1, 2, 4, 5, 6, 7]


async def test_a_thousand_streams_at_once_are_sorted_out(sink: MemorySink) -> None:
    async with Collector(sink) as collector:
        await asyncio.gather(*(send_exchange(collector, trace_id) for trace_id in range(500)))
    assert sorted(stored.trace_id for stored in sink.stored) == list(range(500))
    assert counted(collector.dropped) == {}


async def test_a_message_over_grpcs_limit_ends_its_stream_only(sink: MemorySink) -> None:
    huge = segment("request_headers", header_map((("x", bytes(5 << 20)),)), identifier=IDENTIFIER)
    async with Collector(sink) as collector, served(collector.service()) as at:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(at, [huge])
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await call(at, half(Side.REQUEST, REQUEST))
        await call(at, half(Side.RESPONSE, RESPONSE))
    assert len(sink.stored) == 1
