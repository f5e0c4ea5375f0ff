"""The tap service as the runtime serves it: the slot by ECDS, exchanges in by StreamTaps, sessions over the admin HTTP."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from starlette.routing import BaseRoute

from envoy_sidecar.settings import SettingsError
from envoy_sidecar.sidecar import Sidecar
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.port import Service
from envoy_tap.access import Authority
from envoy_tap.api import Access, Services, routes
from envoy_tap.archive import Archive
from envoy_tap.audit import AUDIT_KEY, AuditLog, Recorder
from envoy_tap.audit.told import target
from envoy_tap.collector import Collector
from envoy_tap.console import pages
from envoy_tap.core.exchange import Node
from envoy_tap.core.node import Proxy
from envoy_tap.core.policy import Policy
from envoy_tap.core.session import Session
from envoy_tap.descriptors import Descriptors, DescriptorsError
from envoy_tap.drivers.choice import resource
from envoy_tap.drivers.processor import Processor
from envoy_tap.housekeeper import Housekeeper
from envoy_tap.policy_file import read_policy
from envoy_tap.registry import END_OF_SERVICE, Registry
from envoy_tap.replay import ReplayError, Target
from envoy_tap.session_sink import SessionSink
from envoy_tap.settings import TapSettings
from envoy_tap.slot.ecds import EcdsServer
from envoy_tap.slot.file import SUFFIXES, FileSlot, SlotFile
from envoy_tap.slot.script import Setup
from envoy_tap.slot.slot import Slot
from envoy_tap.slot.subscription import ResourceBuilder
from envoy_tap.storage.open import opened
from envoy_tap.whole_streams import WholeStreams

LOG = logging.getLogger(__name__)

_WITHDRAWAL_S = 1.0
# What is left of the drain time for the exchange that is being redacted, and to store what was counted.
_LAST_S = 2.0


class TapSidecar:
    """A `Sidecar` that serves tap sessions. Raises SettingsError when the folder can't be used.

    InvalidConfigurationError is raised for a policy or tokens file that can't be.
    """

    name = "tap"

    def __init__(self, settings: TapSettings) -> None:
        self._settings = settings
        policy = read_policy(settings.policy)
        self._own = settings.session(never_headers=policy.never_headers)
        self._authority = Authority(settings.tokens, settings.jwt, settings.rules)
        self._access = Access(self._authority, Address.parse(settings.admin))
        self._slot = Slot(policy=policy)
        self.ecds = EcdsServer(self._slot, ttl_s=settings.slot_ttl, build=self._build)
        self._file = slot_file(settings, self._slot, self._build)
        try:
            self._storage = opened(settings.data, settings.key_file, settings.store, settings.retention)
            self._audit = AuditLog(settings.data, self._storage.keys.all_derived(AUDIT_KEY))
        except OSError as error:
            raise SettingsError(f"--data {settings.data}: {error.strerror or error}") from None
        try:
            self._schema = Descriptors(settings.descriptors)
        except DescriptorsError as error:
            raise SettingsError(f"--descriptors {error}") from None
        try:
            self._targets = tuple(map(Target.read, settings.replay_to))
        except ReplayError as error:
            raise SettingsError(f"--replay-to {error}") from None
        store, keys = self._storage.store, self._storage.keys
        self.registry = Registry(self._slot, store, policy, keys.derived("placeholders"))
        self._archive = Archive(store)
        self._recorder = Recorder(self._audit)
        self._collector = Collector(SessionSink(store, settings.max_stored_bytes), intake=self.registry)
        self._housekeeper = Housekeeper(
            self.registry, store, self._recorder, settings.retention, nodes=self._nodes
        )
        self._running = AsyncExitStack()
        self._processor = Processor(
            self._collector, lambda: [each for each in self._slot.sessions if not each.socket], policy
        )
        self.services: Sequence[Service] = (
            self._collector.service(),
            WholeStreams(self._collector).service(),
            self._processor.service(),
            self.ecds.service(),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends_at_s: float | None = None
        self.watched: Sequence[Path] = [*self._authority.files, *filter(None, [settings.policy])]
        self.tallies = (
            self._collector.exchanges,
            self._collector.dropped,
            self.registry.verdicts,
            self._housekeeper.deleted,
            self.ecds.updates,
        )

    def routes(self) -> Sequence[BaseRoute]:
        """Return the session API and the console, for the admin server."""
        services = Services(
            self.registry,
            self._archive,
            self._all_nodes,
            self._access,
            self._recorder,
            self._schema,
            self._targets,
        )
        return [*routes(services), *pages.routes()]

    def reload(self) -> str:
        """Read the policy and the files of access again; what one of them spoils leaves all as it was."""
        policy = read_policy(self._settings.policy)
        self._authority.reload()
        if self._loop is None:
            self._follow(policy)
        else:
            self._loop.call_soon_threadsafe(self._follow, policy)
        return f"{len(self.watched)} files of policy and access"

    def _follow(self, policy: Policy) -> None:
        if policy == self._slot.policy:
            return
        self._slot.policy = self._processor.policy = policy
        self.registry.follow(policy)
        # Sessions that run are held to it, too: their proxies get what it leaves of them.
        self.ecds.renew()

    def _build(self, name: str, sessions: Sequence[Session], proxy: Proxy) -> TypedExtensionConfig:
        return resource(name, sessions, proxy, Setup(self._settings.cluster, self._slot.policy))

    def concerns(self) -> Sequence[str]:
        """Return nothing: a proxy that refused its slot is in `/config`."""
        return ()

    def describe(self) -> Mapping[str, object]:
        """Return the active sessions, where they are kept, and what each connected proxy said to its slot."""
        return {
            "data": str(self._settings.data),
            "sessions": [
                {
                    "id": session.id,
                    "expires_at_s": session.expires_at_s,
                    "limits": {"body_bytes": session.limits.body_bytes},
                }
                for session in self._slot.sessions
            ],
            "nodes": self._nodes(),
        }

    def _all_nodes(self) -> list[dict[str, Any]]:
        return [*self._nodes(), *self._housekeeper.nodes_elsewhere]

    def _nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "id": node.node.id,
                "cluster": node.node.cluster,
                "sessions": list(node.tap_ids),
                "sent_version": node.sent_version,
                "acked_version": node.acked_version,
                "nack": node.nack,
                "driver": node.driver,
                "problem": node.problem,
            }
            for node in self.ecds.nodes()
        ] + ([] if self._file is None else [_of_file(self._file)])

    async def start(self) -> None:
        """Take stored sessions up again, and the one of the command line; from then on proxies hear of them."""
        self._loop = asyncio.get_running_loop()
        await self._running.enter_async_context(self._collector)
        keeping_up = asyncio.create_task(self._housekeeper.run())
        self._running.push_async_callback(_cancelled, keeping_up)
        if self._file is not None:
            self._running.push_async_callback(_cancelled, asyncio.create_task(self._file.keep()))
        self.registry.load()
        if self._own is not None:
            # What it targets is not logged: a header's value may be a secret.
            await self._recorder.by_service("start", self._own.id, **target(self._own))
            await self.registry.begin(self._own)
        LOG.info("%d sessions are active", len(self._slot.sessions))

    async def until_configured(self) -> None:
        """Return at once: there is nothing to wait for."""

    async def drain(self) -> None:
        """Withdraw all sessions from the proxies, which would otherwise keep them until their time to live ends."""
        loop = asyncio.get_running_loop()
        self._ends_at_s = loop.time() + self._settings.drain_delay + self._settings.drain_time
        if self._own is not None:
            with suppress(KeyError, OSError):
                await self._recorder.by_service("stop", self._own.id, why=END_OF_SERVICE)
            with suppress(KeyError, OSError):
                await self.registry.stop(self._own.id, END_OF_SERVICE)
        self._slot.clear()
        self.registry.close()
        await self.ecds.end(_WITHDRAWAL_S)

    async def stop(self) -> None:
        """Write what has been collected, as long as the drain time goes, and store what was counted."""
        if self._ends_at_s is not None:
            left_s = self._ends_at_s - asyncio.get_running_loop().time()
            self._collector.flush_s = max(left_s - _LAST_S, left_s / 2, 0.0)
        await self._running.aclose()
        await self.registry.save_all()
        await asyncio.to_thread(self._storage.close)
        self._audit.close()


def slot_file(settings: TapSettings, slot: Slot, build: ResourceBuilder) -> SlotFile | None:
    """Return what keeps `--slot-file`, which is there and idle then; raises SettingsError if it can't be."""
    path = settings.slot_file
    if path is None:
        return None
    if path.suffix not in SUFFIXES:
        raise SettingsError(
            f"--slot-file {path}: Envoy goes by the suffix; write one of {', '.join(SUFFIXES)}"
        )
    node_id, _, cluster = settings.slot_file_node.partition("/")
    file = SlotFile(FileSlot(path, Proxy(Node(node_id, cluster)), settings.slot_name), slot, build)
    try:
        file.write(())
    except OSError as error:
        raise SettingsError(f"--slot-file {path}: {error.strerror or error}") from None
    return file


def _of_file(file: SlotFile) -> dict[str, Any]:
    """Return what is known of the proxies that read the file: they answer nobody."""
    node = file.at.proxy.node
    return {
        "id": node.id,
        "cluster": node.cluster,
        "sessions": list(file.tap_ids),
        "sent_version": file.version,
        "acked_version": "",
        "nack": "",
        "driver": file.at.proxy.driver,
        "problem": file.problem,
        "file": str(file.at.path),
    }


def routes_of(sidecar: Sidecar) -> Sequence[BaseRoute]:
    """Return the routes that tap adds to the admin server."""
    return sidecar.routes() if isinstance(sidecar, TapSidecar) else ()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
