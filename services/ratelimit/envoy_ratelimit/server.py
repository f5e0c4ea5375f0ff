"""The ratelimit service as the runtime serves it: limits from files or xDS, buckets in a store, decisions by gRPC."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import grpc

from envoy_ratelimit import wire
from envoy_ratelimit.config import LoadedRules, load_rules
from envoy_ratelimit.config.inline import load_nodes
from envoy_ratelimit.config.xds import XdsClient
from envoy_ratelimit.core.fallback import LocalShare
from envoy_ratelimit.core.limiter import FailurePolicy
from envoy_ratelimit.core.rules import Rules
from envoy_ratelimit.handler import RateLimitHandler
from envoy_ratelimit.observe.asked import AskedStore
from envoy_ratelimit.observe.decision_log import DecisionLog
from envoy_ratelimit.observe.metrics import RuleMetrics, known_of
from envoy_ratelimit.observe.observer import Observer
from envoy_ratelimit.settings import RatelimitSettings
from envoy_ratelimit.stores import DenialCache, RemoteStore, masked_url, open_store
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_sidecar.config.documents import Node
from envoy_sidecar.settings import SettingsError
from envoy_sidecar.sidecar import PartlyTaken
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Answer, Call, Failure, Service

LOG = logging.getLogger(__name__)
_LOOK_S = 1.0
_NONE_YET = "no limits came over xDS yet"
_NONE_YET_AND_SERVING = f"{_NONE_YET}: until they do, every request gets UNAVAILABLE"
_UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, _NONE_YET)


class RatelimitSidecar:
    """A `Sidecar` that decides by the limits in files, or by those of a control plane.

    Raises InvalidConfigurationError when the limits can't be used, and SettingsError for a store that isn't one.
    """

    name = "ratelimit"

    def __init__(self, settings: RatelimitSettings, notes: Sequence[str] = ()) -> None:
        """Prepare to serve; *notes* are what the log is to say of the settings at the start."""
        self._settings = settings
        self._notes = tuple(notes)
        server = settings.xds_server()
        self._xds = XdsClient(server, self._apply) if server is not None else None
        self._loaded = LoadedRules(Rules(), (), ()) if server is not None else self._load(None)
        try:
            self._store = open_store(
                settings.store,
                timeout_s=settings.store_timeout,
                per_second=settings.store_per_second,
                key_prefix=settings.store_key_prefix,
                spread=settings.store_spread,
                denials_s=settings.store_denials,
            )
        except ValueError as error:
            raise SettingsError(f"--store: {error}") from None
        self._asked: AskedStore | None = None
        if isinstance(self._store, DenialCache):
            self._asked = self._store.store = AskedStore(self._store.store)
        self._observer = Observer(
            RuleMetrics(
                near_limit_ratio=settings.near_limit_ratio,
                max_rules=settings.metrics_max_rules,
                was_asked=self._asked.was_asked if self._asked is not None else None,
            ),
            DecisionLog(settings.log_options()),
            keys=settings.decision_log_keys,
            salt=settings.key_salt,
        )
        self._handler = RateLimitHandler(
            self._loaded.rules,
            self._store,
            on_store_failure=FailurePolicy(settings.on_store_failure),
            local=LocalShare(MemoryStore(), settings.local_share),
            why_down=self._store.why_down if isinstance(self._store, RemoteStore) else lambda: "",
            response=settings.response_options(),
            observe=self._observer.observe,
            remembered=settings.remember_requests,
        )
        self._observer.metrics.hold(known_of(self._loaded.rules))
        # The handler, the store and the metrics are made for one thread at a time; the admin's /json is a second one.
        self._one_at_a_time = threading.Lock()
        self._serving = False
        self._tasks: list[asyncio.Task[None]] = []
        self.services: Sequence[Service] = (Service(wire.SERVICE, unary={wire.METHOD: self._decide}),)
        self.watched: Sequence[Path] = settings.config
        self.tallies: Sequence[Tally] = (
            *self._handler.tallies,
            *self._observer.tallies,
            *((self._store.refused,) if isinstance(self._store, DenialCache) else ()),
            *((self._xds.updates,) if self._xds is not None else ()),
        )

    @property
    def rules(self) -> Rules:
        """The limits that hold now."""
        return self._handler.rules

    @property
    def observer(self) -> Observer:
        """What was seen of decisions."""
        return self._observer

    @property
    def is_serving(self) -> bool:
        """Whether it is started and not draining, and has limits if they come from a control plane."""
        return self._serving and self.has_limits

    @property
    def has_limits(self) -> bool:
        """Whether there are limits, be they none: not until a control plane has sent its first, if they come from one."""
        return self._xds is None or self._xds.first.is_set()

    @property
    def decide(self) -> Callable[[Sequence[Call]], Sequence[Answer]]:
        """Answer serialized RateLimitRequests; may be called from any thread."""
        return self._decide

    def reload(self) -> str | PartlyTaken:
        """Read the limits again and decide by them from the next batch on; see `Sidecar.reload`.

        A bucket keeps what is in it as long as its limit stays the same. If some files are broken the others hold all
        the same (unless --strict-config).
        """
        if self._xds is not None:
            return "limits come over xDS, whenever they change"
        loaded = self._load(self._loaded)
        summary = self._swap(loaded)
        return _partly(loaded) or summary

    def describe(self) -> Mapping[str, object]:
        """Return the limits that hold now, where they came from, and the store without its password."""
        return {
            "store": masked_url(self._settings.store),
            "store_per_second": masked_url(self._settings.store_per_second),
            "on_store_failure": self._settings.on_store_failure,
            "limits": self._loaded.rules.describe(),
            "files": [str(file) for file in self._loaded.files],
            "files_as_before": [str(file) for file in self._loaded.as_before],
            "files_gone_in_force": [str(file) for file in self._loaded.gone],
            "files_left_out": [str(file) for file in self._loaded.left_out],
            "xds": self._xds.describe() if self._xds is not None else None,
            "warnings": [str(finding) for finding in self._loaded.warnings],
        }

    def concerns(self) -> Sequence[str]:
        """Return that the control plane's first limits are not there, or why its newest don't hold, and if the store fails.

        A store that is away says so before a batch has needed it, too.
        """
        if self._xds is None:
            return self._store_concerns()
        lack = () if self.has_limits else (_NONE_YET_AND_SERVING if self._serving else _NONE_YET,)
        return (*lack, *self._xds.trouble, *self._store_concerns())

    async def start(self) -> PartlyTaken | None:
        """Say what the start found, and begin to reach the store and the control plane.

        Files that can't be used are left out, which is returned.
        """
        for note in (*self._notes, *self._store_concerns()):
            LOG.warning("%s", note)
        if isinstance(self._store, RemoteStore):
            self._store.start()
            self._run(self._look_at_store())
        self._run(self._observer.run())
        if self._xds is not None:
            self._run(self._xds.run())
        return _partly(self._loaded)

    async def until_configured(self) -> None:
        """Wait for the first limits if they come over xDS; so long as `config_xds_wait` says, if it does."""
        if self._xds is not None and not self._xds.first.is_set():
            LOG.info("waiting for the first limits over xDS")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._xds.first.wait(), self._settings.config_xds_wait)
        self._serving = True
        if not self.has_limits:
            LOG.warning("%s", _NONE_YET_AND_SERVING)
        LOG.info("%s; buckets in %s", self._announce(), masked_url(self._settings.store))

    async def drain(self) -> None:
        """Let /healthcheck fail; no stream is served."""
        self._serving = False

    async def stop(self) -> None:
        """End what runs beside the requests, and let go of the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._store.close)

    def _store_concerns(self) -> tuple[str, ...]:
        failure = self._handler.outage.why
        down = self._store.why_down() if isinstance(self._store, RemoteStore) else ""
        if down and not failure:
            policy = self._settings.on_store_failure
            failure = f"the bucket store is not reached; requests get {policy!r} until it is: {down}"
        elif down not in failure:
            failure = f"{failure}; now: {down}"
        return (failure,) if failure else ()

    def _decide(self, calls: Sequence[Call]) -> Sequence[Answer]:
        if not self.has_limits:
            # Whether they pass is for Envoy to say (`failure_mode_deny`), as it is without this service.
            return [_UNAVAILABLE] * len(calls)
        with self._one_at_a_time:
            if self._asked is not None:
                self._asked.begin()
            return self._handler(calls)

    async def _look_at_store(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        with self._one_at_a_time:
            self._handler.outage.look()
            # After that, so that a connection that is closed and made again at once is no outage.
            if isinstance(self._store, RemoteStore):
                self._store.look()

    def _load(self, previous: LoadedRules | None) -> LoadedRules:
        settings = self._settings
        return load_rules(
            settings.config,
            strict=settings.strict_config,
            merge=settings.merge_domains,
            previous=previous,
            defaults=settings.defaults(),
        )

    def _apply(self, documents: Sequence[Node]) -> str:
        loaded = load_nodes(documents, self._settings.defaults(), merge=self._settings.merge_domains)
        return self._swap(LoadedRules(loaded.rules, (), loaded.warnings))

    def _swap(self, loaded: LoadedRules) -> str:
        known = known_of(loaded.rules)
        with self._one_at_a_time:
            self._handler.swap(loaded.rules)
            self._observer.metrics.hold(known)
        if isinstance(self._store, DenialCache):
            self._store.forget()
        self._loaded = loaded
        return self._announce()

    def _run(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_say_why)
        self._tasks.append(task)

    def _announce(self) -> str:
        for finding in self._loaded.warnings:
            LOG.warning("%s", finding)
        rules = self._loaded.rules
        return f"limits: {len(rules.rules)}, domains: {len(rules.domains)}, files: {len(self._loaded.files)}"


def _partly(loaded: LoadedRules) -> PartlyTaken | None:
    return PartlyTaken(loaded.what_holds, loaded.errors) if loaded.errors else None


def _say_why(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        LOG.error("what runs beside the requests ended", exc_info=error)
