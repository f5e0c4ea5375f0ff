"""The ECDS server of the tap slot: every subscribed proxy gets the slot's content, and says what it made of it.

Imports `envoy-data-plane`, so import this module only where a server starts.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from enum import StrEnum

from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest

from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Peer, Service
from envoy_tap.slot.broadcast import Broadcast
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import DEFAULT_TTL_S
from envoy_tap.slot.slot import Slot
from envoy_tap.slot.subscription import TYPE_URL, NodeSlot, Reply, ResourceBuilder, Subscription

SERVICE_NAME = "envoy.service.extension.v3.ExtensionConfigDiscoveryService"
LOG = logging.getLogger(__name__)


class Update(StrEnum):
    """What is counted: a response sent, a proxy's reply to it, a request that could not be parsed."""

    SENT = "sent"
    ACK = Reply.ACK.value
    NACK = Reply.NACK.value
    UNPARSEABLE = "unparseable"


class EcdsServer:
    """Serves *slot* to any number of proxies, each on its own stream.

    *ttl_s* (whole seconds, 1 or more) is how long a proxy goes on capturing after it has lost this server.
    `updates` counts by `Update`; `changed` fires when `nodes` changes. *clock* (unix seconds) is the one that *slot*
    has. Raises ValueError for a *ttl_s* below 1.
    """

    def __init__(
        self,
        slot: Slot,
        *,
        ttl_s: int = DEFAULT_TTL_S,
        build: ResourceBuilder = slot_resource,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if ttl_s < 1:
            raise ValueError(f"ttl_s is whole seconds, 1 or more; {ttl_s} is not")
        self.changed = Broadcast()
        self.updates = Tally("tap.slot_updates", "ECDS responses for the tap slot, by result.", ("result",))
        self.updates.begin((update.value,) for update in Update)
        self._slot = slot
        self._ttl_s = ttl_s
        self._build = build
        self._clock = clock
        self._streams: dict[int, Subscription] = {}
        self._numbers = itertools.count()
        self._ended = False
        self._ending = Broadcast()

    def service(self) -> Service:
        """Return the gRPC service to register with a transport."""
        return Service(SERVICE_NAME, streams={"StreamExtensionConfigs": self.stream_extension_configs})

    def nodes(self) -> tuple[NodeSlot, ...]:
        """Return the slots that are subscribed now, in the order in which they connected."""
        return tuple(subscription.slot for subscription in self._subscribed())

    def renew(self) -> None:
        """Build again what each proxy holds, for what changed beside its sessions, and send it."""
        for subscription in self._streams.values():
            subscription.renew()
        self._slot.changed.fire()

    async def settled(self, at_least: int = 1) -> tuple[NodeSlot, ...]:
        """Return `nodes` once there are *at_least* so many and each has acknowledged or refused what is current."""

        def holds() -> bool:
            subscribed = self._subscribed()
            return len(subscribed) >= at_least and all(
                each.has_settled(self._slot.sessions_for(each.proxy)) for each in subscribed
            )

        await self.changed.until(holds)
        return self.nodes()

    async def end(self, patience_s: float) -> None:
        """End all streams, and every new one at once, after *patience_s* at most in which what is current is taken."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self.settled(at_least=0)
        self._ended = True
        self._ending.fire()

    async def stream_extension_configs(
        self, requests: AsyncIterator[bytes], peer: Peer
    ) -> AsyncGenerator[bytes, None]:
        """Serve one stream: DiscoveryRequests in, DiscoveryResponses out, until the proxy goes away."""
        subscription = Subscription(self._build, self._ttl_s)
        wake = asyncio.Event()
        reader = asyncio.create_task(self._read(requests, subscription, peer, wake))
        reader.add_done_callback(lambda _: wake.set())
        number = next(self._numbers)
        self._streams[number] = subscription
        try:
            with self._slot.changed.listening(wake.set), self._ending.listening(wake.set):
                while not (reader.done() or self._ended):
                    wake.clear()
                    sessions, now_s = self._slot.sessions_for(subscription.proxy), self._clock()
                    response = subscription.due(sessions, now_s)
                    if response is None:
                        await _wait(wake, subscription.wake_in_s(sessions, now_s))
                        continue
                    self.updates.add((Update.SENT.value,))
                    self.changed.fire()
                    # This may take its time: what is due then is asked before waiting for anything else.
                    yield bytes(response)
            if reader.done():
                # Raises what ended the reading, if it was not the proxy's own good-bye.
                await reader
        finally:
            reader.cancel()
            del self._streams[number]
            self.changed.fire()

    def _subscribed(self) -> list[Subscription]:
        return [subscription for subscription in self._streams.values() if subscription.asks]

    async def _read(
        self, requests: AsyncIterator[bytes], subscription: Subscription, peer: Peer, wake: asyncio.Event
    ) -> None:
        async for payload in requests:
            request = await self._parse(payload, peer)
            if request is None:
                continue
            reply = subscription.receive(request)
            slot = subscription.slot
            if reply is Reply.NACK:
                LOG.warning(
                    "tap: node %r refused slot version %s: %r", slot.node.id, slot.sent_version, slot.nack
                )
            if reply is not Reply.NONE:
                self.updates.add((reply.value,))
            self.changed.fire()
            wake.set()

    async def _parse(self, payload: bytes, peer: Peer) -> DiscoveryRequest | None:
        try:
            # In a thread: Envoy's first request lists all its extensions, which takes tens of milliseconds to parse.
            request = await asyncio.to_thread(DiscoveryRequest.parse, payload)
        except Exception as error:  # noqa: BLE001
            # betterproto2 and pydantic raise errors of many kinds; none of them is worth the stream.
            kind = type(error).__name__
            LOG.warning("tap: %s sent a DiscoveryRequest that cannot be parsed (%s)", peer.address, kind)
            self.updates.add((Update.UNPARSEABLE.value,))
            return None
        if request.type_url not in {"", TYPE_URL}:
            LOG.warning("tap: %s asked for %r, which is not served here", peer.address, request.type_url)
            return None
        return request


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
