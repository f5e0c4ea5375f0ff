"""Streams that are over, each as one unary call: what a stream of the same messages would say, on both transports."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import grpc
import pytest

from envoy_sidecar.pb import tap_pb2
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.grpcio import GrpcioTransport
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.native import NativeTransport
from envoy_sidecar.transport.port import Call
from envoy_tap.collector import Collector
from envoy_tap.core.events import Event, Loss, Piece, Side
from envoy_tap.whole_streams import SERVICE_NAME, WholeStreams
from tests.tap.building import REQUEST, RESPONSE, MemorySink, counted, half


def taken(*messages: bytes) -> bytes:
    return tap_pb2.TakeTapsRequest(messages=messages).SerializeToString()


def calls_of(numbers: Sequence[int]) -> list[bytes]:
    halves = ((Side.REQUEST, REQUEST), (Side.RESPONSE, RESPONSE))
    return [taken(*half(side, message, trace_id=number)) for number in numbers for side, message in halves]


@pytest.mark.parametrize("transport", [NativeTransport, GrpcioTransport])
async def test_many_calls_at_once_are_exchanges_each_whole_beside_streams(
    transport: type[NativeTransport | GrpcioTransport],
) -> None:
    sink = MemorySink()
    async with Collector(sink) as collector:
        services = (collector.service(), WholeStreams(collector).service())
        server = transport(Address("127.0.0.1", 0), services, HealthBoard([SERVICE_NAME]))
        bound = await server.start()
        async with grpc.aio.insecure_channel(str(bound)) as channel:
            take: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                f"/{SERVICE_NAME}/TakeTaps"
            )
            stream: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(
                "/envoy.service.tap.v3.TapSinkService/StreamTaps"
            )
            answers = await asyncio.gather(*(take(call, timeout=30) for call in calls_of(range(200))))
            assert set(answers) == {b""}
            # The two halves of one exchange may come by different ways.
            await take(calls_of([200])[0], timeout=30)
            await stream(iter(half(Side.RESPONSE, RESPONSE, trace_id=200)), timeout=30)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await take(bytes(5 << 20), timeout=30)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await server.stop(5.0)
    assert sorted(each.trace_id for each in sink.stored) == list(range(201))
    assert {(each.request, each.response, each.incomplete) for each in sink.stored} == {
        (REQUEST, RESPONSE, False)
    }
    assert counted(collector.dropped) == {}


async def test_garbage_is_counted_and_spoils_nothing_beside_it() -> None:
    sink = MemorySink()
    async with Collector(sink) as collector:
        take = WholeStreams(collector).take
        request = half(Side.REQUEST, REQUEST)
        calls = [
            Call(b"\xff\xff"),
            Call(taken(b"garbage!", *request)),
            # A call without an identifier has none of the call before.
            Call(taken(*half(Side.RESPONSE, RESPONSE)[1:])),
            Call(taken()),
            Call(b""),
        ]
        assert await asyncio.to_thread(take, calls) == [b""] * len(calls)
        assert counted(collector.dropped) == {"unparseable": 2, "unidentified": 2}
    assert [(each.request, each.response, each.incomplete) for each in sink.stored] == [(REQUEST, None, True)]


async def test_a_call_of_more_messages_than_a_half_has_is_dropped_whole_and_counted_once() -> None:
    sink = MemorySink()
    async with Collector(sink) as collector:
        request = half(Side.REQUEST, REQUEST)
        calls = [Call(taken(*[b""] * 100_000)), Call(taken(*request, *[b""] * 16)), Call(taken(*request))]
        assert await asyncio.to_thread(WholeStreams(collector).take, calls) == [b""] * len(calls)
        assert counted(collector.dropped) == {"unparseable": 2}
    assert [(each.request, each.incomplete) for each in sink.stored] == [(REQUEST, True)]


class Portioned(Collector):
    """Notes how much body it is fed at once, in bytes."""

    def __init__(self, sink: MemorySink) -> None:
        super().__init__(sink)
        self.fed_bytes: list[int] = []

    def feed_from_thread(self, events: Sequence[Event], losses: Sequence[Loss]) -> None:
        self.fed_bytes.append(sum(len(event.data) for event in events if isinstance(event, Piece)))
        super().feed_from_thread(events, losses)


async def test_of_a_batch_no_more_than_the_largest_call_is_decoded_at_once() -> None:
    sink = MemorySink()
    large = replace(REQUEST, body=bytes(1 << 20))
    async with Portioned(sink) as collector:
        sizes = [large, REQUEST, REQUEST, *[large] * 4]
        calls = [
            Call(taken(*half(Side.REQUEST, message, trace_id=number)))
            for number, message in enumerate(sizes, start=1)
        ]
        await asyncio.to_thread(WholeStreams(collector).take, calls)
        assert collector.fed_bytes == [1 << 20, 2 * len(REQUEST.body), *[1 << 20] * 4]
    assert [each.trace_id for each in sink.stored] == list(range(1, len(sizes) + 1))
    assert counted(collector.dropped) == {}


async def test_it_is_an_error_to_feed_what_has_not_been_started() -> None:
    collector = Collector(MemorySink())
    with pytest.raises(RuntimeError, match="not been started"):
        WholeStreams(collector).take([Call(b"")])
