"""A stock Envoy with the tap slot, its upstream, and the tap service behind it, all seen from inside one event loop."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc

from envoy_demo import configs
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.processes import Processes
from envoy_sidecar.transport.port import Answer, Call, Peer, Service
from envoy_tap.collector import Collector
from envoy_tap.core.events import Loss
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.policy import Policy
from envoy_tap.drivers.choice import builder
from envoy_tap.drivers.processor import Processor
from envoy_tap.slot.ecds import EcdsServer
from envoy_tap.slot.script import Setup
from envoy_tap.slot.slot import Slot
from envoy_tap.slot.subscription import ResourceBuilder
from envoy_tap.whole_streams import WholeStreams
from tests.tap.serving import served

_PATIENCE_S = 30
_NO_METADATA: Mapping[str, object] = MappingProxyType({})
_BUILD = builder(Setup())
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
RELOADS = "extension_config_discovery.http_filter.envoy_tap_slot.config_reload"


@dataclass
class Upstream:
    """Answers every connection's one request with `answer`, raw, and closes; an empty one is a failure."""

    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npong"
    awaits_body: bool = True
    delay_s: float = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: ([0-9]+)", head)
        if length and self.awaits_body:
            await reader.readexactly(int(length[1]))
        elif b"chunked" in head:
            await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(self.delay_s)
        writer.write(self.answer)
        writer.close()


class LoopSink:
    """Hands what is stored over to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stored: asyncio.Queue[Exchange] = asyncio.Queue()

    def write(self, batch: Sequence[Exchange]) -> Mapping[int, Loss]:
        for exchange in batch:
            self._loop.call_soon_threadsafe(self._stored.put_nowait, exchange)
        return {}

    def close(self) -> None:
        pass

    @property
    def waiting(self) -> int:
        return self._stored.qsize()

    async def next(self) -> Exchange:
        async with asyncio.timeout(_PATIENCE_S):
            return await self._stored.get()


@dataclass
class Tapped:
    """What a test touches: the proxy, its upstream, the slot, and all that came out of the proxy to the collector."""

    envoy: Envoy
    upstream: Upstream
    slot: Slot
    ecds: EcdsServer
    sink: LoopSink
    kill_service: Callable[[], Any]
    give_up: Callable[[], Any]
    channel: Callable[[], grpc.aio.Channel]
    payloads: list[bytes] = field(default_factory=list)

    async def settled(self) -> str:
        """Return the proxy's NACK text, "" for an ACK, once it has answered what is current."""
        async with asyncio.timeout(_PATIENCE_S):
            (node,) = await self.ecds.settled()
            return node.nack

    async def ask(
        self, start: str = "GET /orders HTTP/1.1", *headers: str, body: bytes = b"", host: str = "example.org"
    ) -> bytes:
        """Send one raw request and return the raw answer; header values are written as UTF-8."""
        lines = [start, f"host: {host}", "connection: close", *headers]
        if body and not any("chunked" in header for header in headers):
            lines.append(f"content-length: {len(body)}")
        head = "".join(f"{line}\r\n" for line in [*lines, ""])
        return await self.ask_raw(head.encode() + body)

    async def ask_raw(self, request: bytes) -> bytes:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.envoy.port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer

    @property
    def reloads(self) -> int:
        """How often the content of the slot has changed since Envoy's start."""
        return self.envoy.stat(RELOADS)


@asynccontextmanager
async def tapped(
    folder: Path,
    *,
    build: ResourceBuilder = _BUILD,
    ttl_s: int = 30,
    node_id: str = "edge-1",
    metadata: Mapping[str, object] = _NO_METADATA,
    change: Callable[[configs.Config], object] = id,
) -> AsyncIterator[Tapped]:
    payloads: list[bytes] = []
    async with AsyncExitStack() as stack:
        sink = LoopSink()
        slot = Slot()
        ecds = EcdsServer(slot, ttl_s=ttl_s, build=build)
        collector = await stack.enter_async_context(Collector(sink))
        service = AsyncExitStack()
        processor = _recorded(Processor(collector, lambda: slot.sessions, Policy()).service(), payloads)
        at = await service.enter_async_context(
            served(
                _recorded(collector.service(), payloads),
                _recorded_calls(WholeStreams(collector), payloads),
                processor,
                ecds.service(),
            )
        )
        stack.push_async_callback(service.aclose)
        upstream = Upstream()
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        stack.callback(server.close)
        ports = {"upstream": [server.sockets[0].getsockname()[1]], "envoy_tap": [at.address.port]}
        config = configs.on_ports(configs.load("tap.yaml"), ports)
        config["node"] |= {"id": node_id, "metadata": {"envoy_tap": dict(metadata)}}
        _allow_trailers_and_tunnels(config)
        change(config)
        processes = stack.enter_context(Processes(folder))
        envoy = start_envoy(processes, config)
        yield Tapped(
            envoy,
            upstream,
            slot,
            ecds,
            sink,
            service.aclose,
            partial(_give_up, collector),
            at.channel,
            payloads,
        )


def _allow_trailers_and_tunnels(config: configs.Config) -> None:
    resources = config["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_protocol_options"] = {"enable_trailers": True}
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    (upstream,) = (cluster for cluster in resources["clusters"] if cluster["name"] == "upstream")
    upstream["typed_extension_protocol_options"] = {
        _HTTP_OPTIONS: {
            "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
            "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
            # The upstream closes a connection after its one answer: a request that took it again would fail.
            "common_http_protocol_options": {"max_requests_per_connection": 1},
        }
    }


def _give_up(collector: Collector) -> None:
    """Give out halves that are whole and wait for another; not those that are still coming in."""
    if collector._assembler._waiting:
        collector.flush()


def _recorded(service: Service, payloads: list[bytes]) -> Service:
    """Return *service* with all that it is sent kept in *payloads*."""
    ((name, handler),) = service.streams.items()

    async def recording(requests: AsyncIterator[bytes], peer: Peer) -> AsyncGenerator[bytes, None]:
        async def copied() -> AsyncGenerator[bytes, None]:
            async for payload in requests:
                payloads.append(payload)
                yield payload

        async with aclosing(handler(copied(), peer)) as answers:
            async for answer in answers:
                yield answer

    return Service(service.name, streams={name: recording})


def _recorded_calls(streams: WholeStreams, payloads: list[bytes]) -> Service:
    def recording(calls: Sequence[Call]) -> Sequence[Answer]:
        payloads.extend(call.payload for call in calls)
        return streams.take(calls)

    return Service(streams.service().name, unary={"TakeTaps": recording})
