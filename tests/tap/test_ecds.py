"""The ECDS server over a real gRPC channel: pushes, answers, expiry, several proxies at a time."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.rpc import Status

from envoy_tap.core.session import Session
from envoy_tap.slot.ecds import SERVICE_NAME, EcdsServer
from envoy_tap.slot.slot import Slot
from envoy_tap.slot.subscription import TYPE_URL
from tests.tap.building import Clock, counted, session
from tests.tap.serving import Served, served

METHOD = f"/{SERVICE_NAME}/StreamExtensionConfigs"
Stream = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass
class Proxy:
    """A subscribed proxy."""

    stream: Stream
    last: DiscoveryResponse = field(default_factory=DiscoveryResponse)

    async def subscribes(self, node_id: str = "edge-1") -> None:
        await self.sends(node=EnvoyNode(id=node_id, cluster="edge"))

    async def receives(self) -> DiscoveryResponse:
        received = await self.stream.read()
        assert isinstance(received, bytes)
        self.last = DiscoveryResponse.parse(received)
        return self.last

    async def acks(self) -> None:
        await self.sends(version_info=self.last.version_info, response_nonce=self.last.nonce)

    async def nacks(self, text: str) -> None:
        await self.sends(response_nonce=self.last.nonce, error_detail=Status(code=13, message=text))

    async def sends(self, **fields: object) -> None:
        request = DiscoveryRequest(**{"type_url": TYPE_URL, "resource_names": ["slot"], **fields})  # type: ignore[arg-type]
        await self.stream.write(bytes(request))


@asynccontextmanager
async def proxy(at: Served) -> AsyncIterator[Proxy]:
    async with at.channel() as channel:
        stream: Stream = channel.stream_stream(METHOD)()
        yield Proxy(stream)
        stream.cancel()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slot(clock: Clock) -> Slot:
    return Slot(clock)


@pytest.fixture
def ecds(slot: Slot, clock: Clock) -> EcdsServer:
    return EcdsServer(slot, clock=clock)


@pytest.fixture
async def at(ecds: EcdsServer) -> AsyncIterator[Served]:
    async with served(ecds.service()) as at:
        yield at


def target(clock: Clock, tap_id: str = "tap-1", for_s: int = 600) -> Session:
    return session(tap_id, now_s=clock(), for_s=for_s)


async def test_a_target_reaches_a_connected_proxy_at_once(
    at: Served, ecds: EcdsServer, slot: Slot, clock: Clock
) -> None:
    async with proxy(at) as edge:
        await edge.subscribes()
        idle = await edge.receives()
        await edge.acks()
        await ecds.settled()
        slot.set(target(clock))
        pushed = await edge.receives()
        assert pushed.version_info != idle.version_info
        await edge.acks()
        (node,) = await ecds.settled()
        assert (node.node.id, node.tap_ids, node.acked_version) == ("edge-1", ("tap-1",), pushed.version_info)
        slot.clear()
        assert (await edge.receives()).version_info == idle.version_info
    assert counted(ecds.updates) == {"sent": 3, "ack": 2}


async def test_a_proxy_that_connects_later_gets_the_target_first(
    at: Served, ecds: EcdsServer, slot: Slot, clock: Clock
) -> None:
    slot.set(target(clock))
    async with proxy(at) as edge:
        await edge.subscribes()
        await edge.receives()
        await edge.acks()
        (node,) = await ecds.settled()
        assert node.tap_ids == ("tap-1",)


async def test_settled_waits_for_every_proxy(at: Served, ecds: EcdsServer, slot: Slot, clock: Clock) -> None:
    slot.set(target(clock))
    settled = asyncio.create_task(ecds.settled(at_least=2))
    async with proxy(at) as first, proxy(at) as second:
        for edge, name in ((first, "edge-1"), (second, "edge-2")):
            await edge.subscribes(name)
            await edge.receives()
        await first.acks()
        await ecds.changed.until(lambda: any(node.settled for node in ecds.nodes()))
        assert not settled.done()
        await second.nacks("no such thing")
        nodes = {node.node.id: node.nack for node in await settled}
        assert nodes == {"edge-1": "", "edge-2": "no such thing"}


async def test_a_nack_is_logged_and_counted_once(
    at: Served, ecds: EcdsServer, slot: Slot, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    slot.set(target(clock))
    async with proxy(at) as edge:
        await edge.subscribes()
        await edge.receives()
        with caplog.at_level(logging.WARNING):
            await edge.nacks("script load error\nforged line")
            (node,) = await ecds.settled()
        assert node.nack == "script load error\nforged line"
    assert ecds.updates.value(("nack",)) == 1
    (record,) = caplog.records
    assert "script load error\\nforged line" in record.getMessage()


async def test_a_target_that_expires_is_taken_back(
    at: Served, ecds: EcdsServer, slot: Slot, clock: Clock
) -> None:
    async with proxy(at) as edge:
        await edge.subscribes()
        idle = (await edge.receives()).version_info
        await edge.acks()
        slot.set(target(clock))
        await edge.receives()
        await edge.acks()
        await ecds.settled()
        clock.advance(600)
        # The wait on the real clock would be long: any change wakes the stream, which then looks at the time.
        slot.changed.fire()
        assert (await edge.receives()).version_info == idle


async def test_the_stream_wakes_by_itself_for_heartbeats_and_for_expiry() -> None:
    slot = Slot()
    ecds = EcdsServer(slot, ttl_s=1)
    async with served(ecds.service()) as at, proxy(at) as edge:
        await edge.subscribes()
        idle = (await edge.receives()).version_info
        slot.set(session(now_s=time.time(), for_s=2))
        versions = [(await edge.receives()).version_info]
        while versions[-1] != idle:
            versions.append((await edge.receives()).version_info)
    assert len(versions) >= 3
    assert len(set(versions)) == 2


def test_a_time_to_live_below_a_second_is_refused(slot: Slot) -> None:
    with pytest.raises(ValueError, match="ttl_s"):
        EcdsServer(slot, ttl_s=0)


async def test_a_proxy_that_leaves_is_forgotten(at: Served, ecds: EcdsServer) -> None:
    async with proxy(at) as edge:
        await edge.subscribes()
        await edge.receives()
        assert len(ecds.nodes()) == 1
    await ecds.changed.until(lambda: not ecds.nodes())


async def test_a_proxy_that_closes_its_side_is_answered_with_ok(at: Served, ecds: EcdsServer) -> None:
    async with proxy(at) as edge:
        await edge.subscribes()
        await edge.receives()
        await edge.stream.done_writing()
        assert await edge.stream.code() is grpc.StatusCode.OK
    assert ecds.nodes() == ()


async def test_a_request_that_cannot_be_parsed_is_counted_and_the_stream_goes_on(
    at: Served, ecds: EcdsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxy(at) as edge:
        with caplog.at_level(logging.WARNING):
            await edge.stream.write(b"\x22\x02\xff\xff")
            await edge.subscribes()
            await edge.receives()
    assert ecds.updates.value(("unparseable",)) == 1
    assert "cannot be parsed" in caplog.text


async def test_another_resource_type_is_not_served(
    at: Served, ecds: EcdsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxy(at) as edge:
        with caplog.at_level(logging.WARNING):
            await edge.sends(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster")
            await edge.subscribes()
            assert (await edge.receives()).type_url == TYPE_URL
    assert "which is not served here" in caplog.text
    assert ecds.updates.value(("sent",)) == 1


async def test_at_the_end_proxies_get_the_no_op_and_then_their_streams_end(
    at: Served, ecds: EcdsServer, slot: Slot, clock: Clock
) -> None:
    slot.set(target(clock))
    async with proxy(at) as edge:
        await edge.subscribes()
        await edge.receives()
        await edge.acks()
        await ecds.settled()
        slot.clear()
        ending = asyncio.create_task(ecds.end(patience_s=30))
        await edge.receives()
        assert not ending.done()
        await edge.acks()
        await ending
        assert await edge.stream.read() is grpc.aio.EOF
        assert await edge.stream.code() is grpc.StatusCode.OK
        async with proxy(at) as late:
            assert await late.stream.read() is grpc.aio.EOF


async def test_the_end_does_not_wait_for_a_proxy_that_is_silent(
    at: Served, ecds: EcdsServer, slot: Slot, clock: Clock
) -> None:
    slot.set(target(clock))
    async with proxy(at) as edge:
        await edge.subscribes()
        await edge.receives()
        await ecds.end(patience_s=0.05)
        assert await edge.stream.read() is grpc.aio.EOF
