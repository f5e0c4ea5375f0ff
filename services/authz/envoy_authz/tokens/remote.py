"""An issuer's keys by HTTPS: fetched beside the request path, kept while the issuer is away, dropped when too old."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import random

from envoy_authz.tokens.fetch import Fetch, FetchError
from envoy_authz.tokens.keys import KeySet, parse_jwks
from envoy_authz.tokens.schedule import Schedule, Timing
from envoy_authz.tokens.strict import parse_object

LOG = logging.getLogger(__name__)

DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class RemoteLocation:
    """Where keys are published: at `uri`; if that is empty, where the discovery document of `issuer` says.

    `uses` are the values of JWK's `use` that count, empty for keys without one.
    """

    uri: str = ""
    issuer: str = ""
    timeout_s: float = 5.0
    uses: frozenset[str] = frozenset({"", "sig"})

    @property
    def name(self) -> str:
        """What to call it in logs: its address."""
        return self.uri or self.issuer.rstrip("/") + DISCOVERY


class RemoteKeys:
    """A `KeySource` that one task keeps up to date (`run`); `keys` and `want` may be used from any thread.

    There is one fetch at a time, however many requests want a key.
    """

    def __init__(
        self,
        location: RemoteLocation,
        fetch: Fetch,
        timing: Timing | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random,
        count: Callable[[tuple[str, ...]], None] = lambda _labels: None,
    ) -> None:
        self.location = location
        self._fetch = fetch
        self._timing = timing or Timing()
        self._schedule = Schedule(self._timing, jitter)
        self._clock = clock
        self._count = count
        self._keys: KeySet | None = None
        self._wanted = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._attempted = asyncio.Condition()
        self._succeeded_s: float | None = None
        self.attempts = 0
        self.trouble = ""

    @property
    def keys(self) -> KeySet | None:
        """The last good keys; None before the first, and when they are too old."""
        return self._keys

    def want(self) -> None:
        """Fetch soon, but not more often than `Timing.cool_down_s`. Never waits; any thread."""
        if self._wanted:
            return
        self._wanted = True
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the service ends
                loop.call_soon_threadsafe(self._wake.set)

    def describe(self) -> Mapping[str, object]:
        """Return the state for `/config` and metrics."""
        keys = self._keys
        age_s = None if self._succeeded_s is None else round(self._clock() - self._succeeded_s, 1)
        return {
            "uri": self.location.name,
            "keys": 0 if keys is None else len(keys.keys),
            "usable": keys is not None,
            "age_s": age_s,
            "failures": self._schedule.failures,
            "trouble": self.trouble,
        }

    async def attempted(self, attempts: int = 1) -> None:
        """Wait until so many fetches have ended, well or not."""
        async with self._attempted:
            await self._attempted.wait_for(lambda: self.attempts >= attempts)

    async def run(self) -> None:
        """Keep the keys up to date, until cancelled."""
        self._loop = asyncio.get_running_loop()
        schedule = self._schedule
        while True:
            if self._wanted:
                self._wanted = False
                schedule.wanted()
            now_s = self._clock()
            if self._keys is not None and now_s >= schedule.stale_at_s:
                self._keys = None
                LOG.error("keys of %s: too old to be used; its tokens are refused", self.location.name)
            if now_s >= schedule.next_s:
                await self._fetch_once()
                continue
            due_s = schedule.next_s if self._keys is None else min(schedule.next_s, schedule.stale_at_s)
            # Not `wait_for`, which on Python 3.11 can swallow a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(due_s - now_s):
                    await self._wake.wait()
            self._wake.clear()

    async def _fetch_once(self) -> None:
        schedule = self._schedule
        schedule.began(self._clock())
        # Who asked before now is served by what comes back.
        self._wanted = False
        try:
            body, max_age_s = await self._look_up()
            self._take(parse_jwks(body, uses=self.location.uses))
        except (FetchError, ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, FetchError) else "the answer is no JWK Set"
            schedule.failed(self._clock())
            self._tell_failure(reason)
        except Exception as error:
            schedule.failed(self._clock())
            LOG.exception("keys of %s: the fetch failed in a way that is a fault of ours", self.location.name)
            self.trouble = type(error).__name__
        else:
            now_s = self._clock()
            schedule.succeeded(now_s, max_age_s)
            self._succeeded_s = now_s
            self.trouble = ""
        self._count((self.location.name, "failed" if self.trouble else "ok"))
        async with self._attempted:
            self.attempts += 1
            self._attempted.notify_all()

    async def _look_up(self) -> tuple[bytes, float | None]:
        location = self.location
        uri = location.uri or await self._discover()
        fetched = await self._fetch(uri, location.timeout_s)
        return fetched.body, fetched.max_age_s

    async def _discover(self) -> str:
        """Return `jwks_uri` of the issuer's metadata, which must be about that issuer (OpenID Discovery 4.3)."""
        location = self.location
        fetched = await self._fetch(location.name, location.timeout_s)
        try:
            document = parse_object(fetched.body)
        except ValueError:
            raise FetchError("the discovery document is no JSON object") from None
        if document.get("issuer") != location.issuer:
            raise FetchError("the discovery document is about another issuer")
        uri = document.get("jwks_uri")
        scheme = location.issuer.partition("://")[0]
        if not isinstance(uri, str) or not uri.startswith(("https://", f"{scheme}://")):
            raise FetchError("the discovery document has no `jwks_uri` by https")
        return uri

    def _take(self, keys: KeySet) -> None:
        for skipped in keys.skipped:
            LOG.warning("keys of %s: %s; it is not used", self.location.name, skipped)
        if self._keys is not None and self._keys.identity == keys.identity:
            return  # the same object, so that what these keys verified stays remembered
        self._keys = keys
        LOG.info("keys of %s: %d", self.location.name, len(keys.keys))

    def _tell_failure(self, reason: str) -> None:
        if reason != self.trouble:
            serving = "none are here yet" if self._keys is None else "the last good ones serve on"
            LOG.warning("keys of %s: %s; %s", self.location.name, reason, serving)
        self.trouble = reason
