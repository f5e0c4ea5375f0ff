"""Opaque tokens, examined by their issuer (RFC 7662): on a thread of its own, remembered, and bounded everywhere.

A request never waits for the issuer unless `wait_s` says how long it may. A token that was not seen before is
refused as `pending` while it is examined, and the same token is answered from memory right after.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, replace

from envoy_authz.authenticators.answers import REFUSED
from envoy_authz.authenticators.binding import SenderChecker
from envoy_authz.authenticators.model import HeaderPlace, JwtRule
from envoy_authz.authenticators.places import DEFAULT_HEADER, Place, Places
from envoy_authz.core.authentication import ANONYMOUS, Authentication
from envoy_authz.core.request import RequestView
from envoy_authz.tokens.cache import digest
from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.jwt import MAX_TOKEN_LENGTH
from envoy_authz.tokens.verify import Expectations, check_claims

LOG = logging.getLogger(__name__)

Ask = Callable[[str], Awaitable[Mapping[str, object]]]
"""Asks the issuer about a token and returns its answer; raises on any failure. The port to the network."""


@dataclass(frozen=True, slots=True)
class IntrospectionLimits:
    """Bounds: an answer is believed for `keep_s`, or until the token's `exp` if that is sooner.

    That a token is not active is believed for `keep_inactive_s`. `capacity` active tokens are remembered and as many of the others; at most `pending`
    are examined or wait for it, `concurrency` of them at a time. A request may wait `wait_s`.
    """

    keep_s: float = 60.0
    keep_inactive_s: float = 10.0
    capacity: int = 10_000
    pending: int = 1000
    concurrency: int = 8
    wait_s: float = 0.0


Answer = tuple[float, Authentication]
"""Until when (unix seconds) it holds, and what it is."""


class IntrospectionAuthenticator:
    """An `Authenticator` by *ask*ing the issuer; `start` it before use. *clock* gives unix seconds.

    An answer without `iss` is taken to be of `expected.issuer`; audiences, times and types of claims are held as for
    a JWT. A token that is bound to its sender (`cnf`, RFC 8705 section 3.2) needs the proof that *senders* checks.
    *count* is told each result, `active`, `inactive` or `failed`, by the thread that asks. With `limits.wait_s` the thread that decides is held up, and with it every request of its batch.
    """

    def __init__(
        self,
        ask: Ask,
        expected: Expectations,
        place: HeaderPlace = DEFAULT_HEADER,
        *,
        limits: IntrospectionLimits | None = None,
        clock: Callable[[], float] = time.time,
        senders: SenderChecker | None = None,
        count: Callable[[str], None] = lambda _result: None,
    ) -> None:
        self._ask = ask
        self._count = count
        self._senders = SenderChecker(clock) if senders is None else senders
        self._expected = expected
        self._limits = limits or IntrospectionLimits()
        self._clock = clock
        self._header = place.name
        self._places: Places[None] = Places([(JwtRule("", from_headers=(place,)), None)])
        self._known: dict[bytes, Answer] = {}
        # Apart: anybody can send tokens that are not active, and they must not push out those that are.
        self._refused: dict[bytes, Answer] = {}
        self._pending: dict[bytes, Future[Answer]] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def start(self) -> None:
        """Start the thread that asks."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="authz-introspection", daemon=True
        )
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """End it; what is pending is refused."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def authenticate(self, request: RequestView) -> Authentication:
        """Return who calls, if that is known by now; see `Authenticator`. Never raises."""
        try:
            found = self._places.find(request)
            if not found:
                return ANONYMOUS
            return self._accept(*found[0], request)
        except TokenError as error:
            return REFUSED[error.flaw]
        except Exception:
            LOG.exception("a request could not be authenticated and was refused")
            return REFUSED[Flaw.INTERNAL]

    def _accept(self, place: Place[None], text: str, request: RequestView) -> Authentication:
        answer = self._answer(text)
        if answer.refusal is None:
            self._senders.check_bound(answer.tokens[0], text, request, by_dpop=place.is_dpop)
        return answer

    def _answer(self, token: str) -> Authentication:
        # RFC 6750 section 2.1 has b64token: nothing but visible ASCII.
        if not token or len(token) > MAX_TOKEN_LENGTH:
            raise TokenError(Flaw.TOO_LARGE if token else Flaw.MALFORMED)
        if not token.isascii() or not token.isprintable() or " " in token or "," in token:
            raise TokenError(Flaw.MALFORMED)
        key = digest(token)
        known = self._known.get(key) or self._refused.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        pending = self._examine(key, token)
        if self._limits.wait_s:
            with suppress(FutureTimeoutError):
                return pending.result(self._limits.wait_s)[1]
        raise TokenError(Flaw.PENDING)

    def _examine(self, key: bytes, token: str) -> Future[Answer]:
        with self._lock:
            pending = self._pending.get(key)
            if pending is not None:
                return pending
            loop = self._loop
            if loop is None or len(self._pending) >= self._limits.pending:
                self.dropped += 1
                raise TokenError(Flaw.PENDING)
            pending = self._pending[key] = Future()
        loop.call_soon_threadsafe(self._begin, key, token)
        return pending

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(self._limits.concurrency)
        self._loop = loop
        ready.set()
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._end())
            loop.close()

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    def _begin(self, key: bytes, token: str) -> None:
        task = asyncio.get_running_loop().create_task(self._finish(key, token))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, key: bytes, token: str) -> None:
        answer: Answer = (0.0, REFUSED[Flaw.KEYS_UNAVAILABLE])
        try:
            async with self._slots:
                answer = self._judge(await self._ask(token))
            self._remember(key, answer)
            self._count("active" if answer[1].refusal is None else "inactive")
        except Exception as error:  # noqa: BLE001 - whatever the port raises, the token stays unknown
            LOG.warning("an introspection failed: %s", type(error).__name__)
            self._count("failed")
        finally:
            with self._lock:
                pending = self._pending.pop(key)
            pending.set_result(answer)

    def _judge(self, claims: Mapping[str, object]) -> Answer:
        now_s, limits = self._clock(), self._limits
        if claims.get("active") is not True:
            return now_s + limits.keep_inactive_s, REFUSED[Flaw.INACTIVE]
        if "iss" not in claims:
            claims = {**claims, "iss": self._expected.issuer}
        try:
            token = check_claims(claims, self._expected, now_s)
        except TokenError as error:
            return now_s + limits.keep_inactive_s, REFUSED[error.flaw]
        if not token.presenter and isinstance(claims.get("client_id"), str):
            token = replace(token, presenter=str(claims["client_id"]))
        found = Authentication((token,), remove_headers=(self._header,))
        return min(now_s + limits.keep_s, token.expires_at_s), found

    def _remember(self, key: bytes, answer: Answer) -> None:
        self._known.pop(key, None)
        self._refused.pop(key, None)
        kept = self._known if answer[1].refusal is None else self._refused
        while len(kept) >= self._limits.capacity:
            kept.pop(next(iter(kept)), None)
        kept[key] = answer
