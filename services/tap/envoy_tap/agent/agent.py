"""The agent itself: sessions in by ECDS, traces out of Envoy's admin interface, exchanges out by StreamTaps."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import grpc
import httpx
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse

from envoy_sidecar.config.findings import Finding
from envoy_sidecar.transport.address import Address
from envoy_tap import wire
from envoy_tap.agent.judge import Judge
from envoy_tap.agent.objects import Objects
from envoy_tap.agent.request import socket_request, tap_request
from envoy_tap.agent.sessions import Told, answer, first_request, read
from envoy_tap.core.exchange import Exchange, Node
from envoy_tap.core.session import Session
from envoy_tap.lint.fields import tree
from envoy_tap.lint.rules import check

_SUBSCRIBE = "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs"
_FORWARD = "/envoy.service.tap.v3.TapSinkService/StreamTaps"
# Envoy answers at once, and then says nothing until something is captured.
_TIMEOUT = httpx.Timeout(10.0, read=None)
_RETRY_S = 1.0
_FORWARD_TIMEOUT_S = 5.0
_MAX_QUEUED = 256
_MAX_TRACE_BYTES = 64 << 20
_ATTEMPTS = 5
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Which Envoy is tapped and by which name, and the `config_id`s: of its tap filter, and of its tapped sockets."""

    admin: Address
    node: Node
    config_id: str
    socket_config_id: str = "envoy_tap_socket"


class Agent:
    """Taps the Envoy at *place* for the sessions that the service behind *channel* tells.

    It never lets Envoy wait: what can't be forwarded at once is queued, at most 256 exchanges, and `dropped` counts the
    rest. What it is told ends by its time to live if the service falls silent. *clock* gives unix seconds.
    """

    def __init__(
        self, place: Place, channel: grpc.aio.Channel, clock: Callable[[], float] = time.time
    ) -> None:
        self.dropped = 0
        self._place = place
        self._channel = channel
        self._clock = clock
        self._told = Told()
        self._changed = asyncio.Event()
        self._answers: asyncio.Queue[tuple[Told, str]] = asyncio.Queue()
        self._queue: asyncio.Queue[Exchange] = asyncio.Queue(_MAX_QUEUED)

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._subscribe())
            tasks.create_task(self._tap())
            tasks.create_task(self._forward())

    async def _subscribe(self) -> None:
        while True:
            try:
                await self._listen()
            except grpc.aio.AioRpcError as error:
                LOG.warning("no subscription at the tap service: %s", error.details())
            await asyncio.sleep(_RETRY_S)

    async def _listen(self) -> None:
        stream: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(_SUBSCRIBE)()
        await stream.write(bytes(first_request(self._place.node)))
        answering = asyncio.create_task(self._answer(stream))
        try:
            async for payload in stream:
                told = read(DiscoveryResponse.parse(payload), self._clock())
                is_news = told.version != self._told.version
                self._told = told
                if is_news:
                    self._changed.set()
                else:
                    self._answers.put_nowait((told, ""))
        except ValueError as error:
            LOG.warning("%s", error)
        finally:
            answering.cancel()
            stream.cancel()

    async def _answer(self, stream: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        while True:
            told, refusal = await self._answers.get()
            await stream.write(bytes(answer(told, refusal)))

    async def _tap(self) -> None:
        while True:
            self._changed.clear()
            told = self._told
            active = [each for each in told.sessions if self._clock() < min(each.expires_at_s, told.until_s)]
            if not active:
                if told.version:
                    self._answers.put_nowait((told, ""))
                await self._changed.wait()
                continue
            judge = Judge(self._place.node, active, told.policy)
            tapping = asyncio.create_task(self._stream(_request(self._place, active), judge, told))
            await self._until_over(tapping)
            tapping.cancel()
            with suppress(asyncio.CancelledError):
                await tapping

    async def _until_over(self, tapping: asyncio.Task[None]) -> None:
        """Return when there is news, when Envoy has ended the stream, or when all that was told is over."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            while True:
                await asyncio.wait((tapping, changed), timeout=_RETRY_S, return_when=asyncio.FIRST_COMPLETED)
                # The time to live moves with each heartbeat.
                if changed.done() or self._clock() >= self._told.until_s:
                    return
                if tapping.done():
                    await asyncio.wait((changed,), timeout=_RETRY_S)
                    return
        finally:
            changed.cancel()

    async def _stream(self, request: dict[str, object], judge: Judge, told: Told) -> None:
        refusal = _lint(request)
        if refusal:
            self._answers.put_nowait((told, refusal))
            return
        objects = Objects(_MAX_TRACE_BYTES)
        admin = self._place.admin
        transport = httpx.AsyncHTTPTransport(uds=admin.path) if admin.is_unix else None
        base = "http://envoy" if admin.is_unix else f"http://{admin}"
        try:
            async with httpx.AsyncClient(transport=transport, base_url=base, timeout=_TIMEOUT) as client:
                refusal = await self._attached(client, request, judge, told, objects)
        except httpx.HTTPError as error:
            refusal = f"no answer from Envoy's admin interface at {admin}: {error!r}"
        if refusal:
            LOG.warning("not tapped: %s", refusal)
            self._answers.put_nowait((told, refusal))

    async def _attached(
        self,
        client: httpx.AsyncClient,
        request: dict[str, object],
        judge: Judge,
        told: Told,
        objects: Objects,
    ) -> str:
        refusal = ""
        for _ in range(_ATTEMPTS):
            async with client.stream("POST", "/tap", json=request) as reply:
                if reply.is_success:
                    self._answers.put_nowait((told, ""))
                    async for data in reply.aiter_raw():
                        self._take(objects.feed(data), judge)
                    return ""
                refusal = (await reply.aread()).decode(errors="replace")[:1000]
            # One session a process: that of before may still be seen to hang up.
            await asyncio.sleep(_RETRY_S / _ATTEMPTS)
        return refusal

    def _take(self, traces: list[dict[str, object]], judge: Judge) -> None:
        for data in traces:
            for exchange in self._wanted(data, judge):
                try:
                    self._queue.put_nowait(exchange)
                except asyncio.QueueFull:
                    self.dropped += 1

    def _wanted(self, data: dict[str, object], judge: Judge) -> Iterator[Exchange]:
        connection = wire.read_connection(data, self._place.node)
        if connection is not None:
            yield from judge.wanted_connection(connection, self._clock())
        found = wire.read_trace(data, self._place.node)
        if found is not None:
            yield from judge.wanted(*found, self._clock())

    async def _forward(self) -> None:
        while True:
            exchange = await self._queue.get()
            call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(_FORWARD)(
                timeout=_FORWARD_TIMEOUT_S
            )
            try:
                await call.write(wire.written(exchange))
                await call.done_writing()
                await call.read()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                self.dropped += 1
                LOG.warning("an exchange could not be forwarded: %r", error)


def _request(place: Place, active: Sequence[Session]) -> dict[str, object]:
    # The driver never tells both kinds at a time.
    if active[0].socket:
        return socket_request(place.socket_config_id, active)
    return tap_request(place.config_id, active)


def _lint(request: dict[str, object]) -> str:
    found: list[Finding] = check(tree(request, "POST /tap"))
    return "; ".join(each.message for each in found if each.severity == "error")
