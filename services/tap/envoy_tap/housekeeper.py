"""What time and other replicas bring: sessions expire, are stored, are seen elsewhere, and are kept no longer."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from envoy_sidecar.telemetry.tally import Tally
from envoy_tap.audit import Recorder
from envoy_tap.registry import Registry
from envoy_tap.storage.port import Change, Store
from envoy_tap.storage.retention import Reason, Retention

Nodes = Callable[[], Sequence[dict[str, Any]]]

_EVERY_S = 1.0
_LOOK_AT_ALL_EVERY = 5
LOG = logging.getLogger(__name__)


class Housekeeper:
    """Keeps *registry* and *store* together; what it deletes is told to *recorder*.

    *nodes* are the proxies that are connected here, which other replicas are told; `nodes_elsewhere` are theirs.
    *clock* gives unix seconds.
    """

    def __init__(
        self,
        registry: Registry,
        store: Store,
        recorder: Recorder,
        retention: Retention,
        *,
        nodes: Nodes = list,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.deleted = Tally("tap.sessions_deleted", "Sessions deleted by retention, by reason.", ("reason",))
        self.deleted.begin((reason.value,) for reason in Reason)
        self._registry = registry
        self._store = store
        self._recorder = recorder
        self._retention = retention
        self._nodes = nodes
        self.nodes_elsewhere: Sequence[dict[str, Any]] = ()
        self._clock = clock

    async def run(self) -> None:
        """Look after everything, every second and whenever another replica does something; until cancelled."""
        loop = asyncio.get_running_loop()
        changed: asyncio.Queue[str] = asyncio.Queue()

        def take(change: Change, session_id: str) -> None:
            if change is Change.EXCHANGES:
                self._registry.watching.wake(session_id)
            else:
                changed.put_nowait(session_id)

        def heard(change: Change, session_id: str) -> None:
            with suppress(RuntimeError):  # the loop has closed, nobody waits any more
                loop.call_soon_threadsafe(take, change, session_id)

        self._store.listen(heard)
        turn = 0
        while True:
            try:
                async with asyncio.timeout(_EVERY_S):
                    session_id = await changed.get()
            except TimeoutError:
                turn += 1
                await self.once(look_at_all=turn % _LOOK_AT_ALL_EVERY == 0)
            else:
                await self._refresh(session_id)

    async def once(self, *, look_at_all: bool = True) -> None:
        """Do what is due now."""
        self._registry.expire()
        await self._registry.save_all()
        try:
            sizes = await asyncio.to_thread(self._store.sizes)
            if self._store.is_shared:
                await asyncio.to_thread(self._store.share_nodes, self._nodes())
                self.nodes_elsewhere = await asyncio.to_thread(self._store.nodes_elsewhere)
                known = {each.session.id for each in self._registry.all()}
                active = {each.session.id for each in self._registry.all() if each.is_open}
                for session_id in (known | set(sizes)) if look_at_all else active:
                    await self._refresh(session_id)
            for session_id, reason in list(self._retention.due(self._registry.all(), sizes, self._clock())):
                await self._recorder.by_service("delete", session_id, why=str(reason))
                await self._registry.delete(session_id, f"retention ({reason})")
                self.deleted.add((reason.value,))
        except (OSError, KeyError) as error:
            LOG.error("what is stored cannot be looked after: %s", error)

    async def _refresh(self, session_id: str) -> None:
        try:
            await self._registry.refresh(session_id)
        except OSError as error:
            LOG.error("session %s cannot be read: %s", session_id, error)
