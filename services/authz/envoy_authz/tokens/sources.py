"""All key sources of a process: those in files and documents as they are, those by HTTPS each with a task."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from envoy_authz.tokens.fetch import Fetch, Fetched, HttpFetcher
from envoy_authz.tokens.keys import KeySet
from envoy_authz.tokens.remote import RemoteKeys, RemoteLocation
from envoy_authz.tokens.schedule import Timing
from envoy_sidecar.telemetry.instruments import Gauges, Instrument
from envoy_sidecar.telemetry.tally import Tally

LOG = logging.getLogger(__name__)


class StaticKeys:
    """A `KeySource` whose keys never change."""

    __slots__ = ("keys",)

    def __init__(self, keys: KeySet | None) -> None:
        self.keys = keys

    def want(self) -> None:
        """Do nothing: there is nowhere to look."""


class KeyRing:
    """Keeps the keys of remote issuers up to date while it is started.

    `use` may be called before `start` and from any thread: a reload keeps the sources that stay, and their keys.
    """

    def __init__(
        self, timing: Timing | None = None, *, fetch: Fetch | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._timing = timing
        self._fetch = fetch
        self._tls = tls
        self._http: HttpFetcher | None = None
        self._sources: dict[RemoteLocation, RemoteKeys] = {}
        self._tasks: dict[RemoteLocation, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.fetches = Tally("authz.jwks.fetches", "Fetches of keys.", ("keys_of", "result"), cap=200)

    def use(self, locations: Iterable[RemoteLocation]) -> Mapping[RemoteLocation, RemoteKeys]:
        """Return the source for each of *locations*; all other sources end."""
        sources = {
            location: self._sources.get(location)
            or RemoteKeys(location, self._fetched, self._timing, count=self.fetches.add)
            for location in locations
        }
        self._sources = sources
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the service ends
                self._loop.call_soon_threadsafe(self._reconcile)
        return sources

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What tells whether each issuer's keys can be had, and how old they are."""

        def state(name: str) -> Callable[[], list[tuple[tuple[str, ...], float]]]:
            def read() -> list[tuple[tuple[str, ...], float]]:
                states = ((one["uri"], one[name]) for one in self.describe())
                return [
                    ((str(uri),), float(value)) for uri, value in states if isinstance(value, int | float)
                ]

            return read

        keys_of = ("keys_of",)
        return (
            self.fetches,
            Gauges("authz.jwks.usable", "1 while keys may be used.", keys_of, state("usable")),
            Gauges("authz.jwks.keys", "Keys that may be used.", keys_of, state("keys")),
            Gauges(
                "authz.jwks.failures", "Fetches failed since the last good one.", keys_of, state("failures")
            ),
            Gauges("authz.jwks.age.seconds", "Time since keys were last had.", keys_of, state("age_s")),
        )

    def describe(self) -> Sequence[Mapping[str, object]]:
        """Return the state of each remote source."""
        return [source.describe() for source in self._sources.values()]

    async def start(self, grace_s: float = 2.0) -> None:
        """Begin to fetch; waits up to *grace_s* for the first answers, and goes on without them."""
        self._loop = asyncio.get_running_loop()
        self._reconcile()
        sources = list(self._sources.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await asyncio.gather(*(source.attempted() for source in sources))
        for source in sources:
            if source.keys is None:
                LOG.warning("keys of %s: none yet; its tokens are refused until then", source.location.name)

    async def stop(self) -> None:
        """End all fetching."""
        self._loop = None
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _reconcile(self) -> None:
        sources = self._sources
        for location in [location for location in self._tasks if location not in sources]:
            self._tasks.pop(location).cancel()
        for location, source in sources.items():
            if location not in self._tasks:
                self._tasks[location] = asyncio.create_task(source.run())

    async def _fetched(self, uri: str, timeout_s: float) -> Fetched:
        if self._fetch is not None:
            return await self._fetch(uri, timeout_s)
        if self._http is None:
            self._http = HttpFetcher(self._tls)
        return await self._http(uri, timeout_s)
