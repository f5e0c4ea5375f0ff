"""All sessions of this service: what proxies shall capture, what becomes of what they send, and who watches."""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from envoy_sidecar.telemetry.tally import Tally
from envoy_tap.core.annotations import taken_off
from envoy_tap.core.events import Loss
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.policy import Policy, within
from envoy_tap.core.predicate import looked_into_bytes, matches
from envoy_tap.core.predicate.parser import Refusal
from envoy_tap.core.probing import first_refused, refusal
from envoy_tap.core.redaction.explained import Redacted, explained
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Redaction
from envoy_tap.core.session import (
    LATER,
    MAXIMA,
    Kept,
    Later,
    Limits,
    Progress,
    Session,
    SessionError,
    State,
    Verdict,
)
from envoy_tap.core.spec import requested
from envoy_tap.slot.slot import Slot
from envoy_tap.storage.port import Store
from envoy_tap.storage.snapshot import Snapshot
from envoy_tap.watching import Watching

MAX_ACTIVE = 16
COMMAND_LINE = "command line"
END_OF_SERVICE = "end of the service"
POLICY = "policy"
_NO_SESSION = "no_session"
# What is dropped after its verdict, or before, is counted by the collector, and why.
_VERDICTS = (*(each.value for each in Verdict if each is not Verdict.DROPPED), _NO_SESSION)
# Bodies that a condition looks into on the event loop; it takes a few milliseconds.
_AT_ONCE_BYTES = 16 << 10
LOG = logging.getLogger(__name__)


class Registry:
    """Holds the sessions; used on the event loop, but for `redacted`.

    *key* is for placeholders. What *policy* forbids is never captured. At most 16 sessions are active at a time.
    *clock* gives unix seconds. `watching` wakes those who watch.
    """

    def __init__(
        self,
        slot: Slot,
        store: Store,
        policy: Policy,
        key: bytes,
        *,
        maxima: Limits = MAXIMA,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.verdicts = Tally(
            "tap.verdicts", "What became of exchanges that arrived, by verdict.", ("verdict",)
        )
        self.verdicts.begin((verdict,) for verdict in _VERDICTS)
        self.watching = Watching()
        self.is_closing = False
        self._slot = slot
        self._store = store
        self._policy = policy
        self._key = key
        self._maxima = maxima
        self._clock = clock
        self._sessions: dict[str, Progress] = {}
        self._redactors: dict[str, Redactor] = {}
        self._unknown = Redactor(Redaction(), policy.never_headers, key)
        self._unsaved: set[str] = set()
        self._pending: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._saving = asyncio.Lock()

    def follow(self, policy: Policy) -> None:
        """Take *policy* in place of the one before, for all that arrives from now on."""
        self._policy = policy
        self._unknown = Redactor(Redaction(), policy.never_headers, self._key)
        self._redactors = {name: self._redactor(each.session) for name, each in self._sessions.items()}
        stopped = [each.session.id for each in self._sessions.values() if self._stop_probing(each)]
        if stopped:
            self._arm()
        for session_id in stopped:
            self.watching.wake(session_id)

    def load(self) -> None:
        """Take up what is stored: what has not ended goes on, what has expired meanwhile is that."""
        for snapshot in self._store.load():
            progress, now_s = snapshot.progress(), self._clock()
            was = progress.state
            progress.at(now_s)
            if progress.session.who == COMMAND_LINE and not self._store.is_shared:
                # It was to end with its process, which was killed.
                progress.stop(now_s, END_OF_SERVICE)
            self._stop_probing(progress)
            if progress.state is not was:
                self._unsaved.add(progress.session.id)
            self._keep(progress)
        self._arm()

    async def start(
        self, data: Any, who: str, agreed: Callable[[Session], Awaitable[Session]] | None = None
    ) -> Progress:
        """Begin the session that *data* asks for, as *agreed* lets it be; it is stored before any proxy hears of it.

        Raises SessionError for what cannot be had, what *agreed* raises, and OSError if it cannot be stored.
        """
        self._check_room()
        asked = requested(
            data,
            session_id=secrets.token_hex(6),
            who=who,
            now_s=self._clock(),
            maxima=self._maxima,
            never_headers=self._policy.never_headers,
        )
        return await self.begin(await agreed(asked) if agreed else asked)

    async def approve(self, session_id: str, who: str) -> Progress:
        """Let a session that waits begin; raises KeyError, SessionError if it does not wait, OSError."""
        progress = self._sessions[session_id]
        self._check_room()
        progress.approve(self._clock(), who)
        try:
            await self._save(progress)
        except OSError:
            progress.stop(self._clock(), who)
            raise
        self._arm()
        self.watching.wake(session_id)
        LOG.info("session %s: approved by %s", session_id, who)
        return progress

    async def begin(self, session: Session) -> Progress:
        """Begin *session*; raises as `start` does."""
        self._check_room()
        # The policy may have changed since it was asked for.
        if problem := first_refused(session.predicate, self.refusal(session.redaction)):
            raise SessionError("predicate", problem)
        if session.socket and not self._policy.allows_sockets:
            raise SessionError(
                "socket",
                "the policy forbids to capture connections",
                "it does by sockets: true, and by any path or header that their bytes could hold",
            )
        progress = Progress(session, State.WAITING if session.needs_approval else State.ACTIVE)
        async with self._saving:
            await asyncio.to_thread(self._store.create, Snapshot.of(progress))
        self._keep(progress)
        self._arm()
        LOG.info("session %s: started by %s, because %r", session.id, session.who, session.why)
        return progress

    def refusal(self, rules: Redaction) -> Refusal:
        """Return what refuses conditions of a session with *rules*."""
        return refusal(rules, self._policy.never_headers)

    async def stop(self, session_id: str, who: str) -> Progress:
        """End a session; raises KeyError if there is none, OSError if its end cannot be stored (it ends even so)."""
        progress = self._sessions[session_id]
        if self._end(progress, who):
            self.watching.wake(session_id)
            await self._save(progress)
        return progress

    async def delete(self, session_id: str, who: str) -> None:
        """End a session and remove all of it; raises KeyError if there is none, OSError if it cannot be removed."""
        self._end(self._sessions[session_id], who)
        async with self._saving:
            await asyncio.to_thread(self._store.delete, session_id)
            self._forget(session_id)
        LOG.info("session %s: deleted by %s", session_id, who)

    def get(self, session_id: str) -> Progress:
        """Return a session as it is now; raises KeyError."""
        progress = self._sessions[session_id]
        if progress.is_open and progress.at(self._clock()) is State.EXPIRED:
            LOG.info("session %s: expired (%d exchanges)", session_id, progress.counts[Verdict.CAPTURED])
            self._unsaved.add(session_id)
            self._ended(session_id)
        return progress

    def all(self) -> Sequence[Progress]:
        """Return all sessions as they are now, oldest first."""
        return [self.get(session_id) for session_id in self._sessions]

    def admit(self, exchange: Exchange) -> Exchange | Later | None:
        """Return what is to be stored of *exchange*, or None; it is counted in its session.

        What takes long to judge is `LATER`, and so is what comes for the same session meanwhile: they keep their order.
        """
        progress = self._sessions.get(exchange.tap_id)
        if progress is not None and (
            self._waiting[exchange.tap_id]
            or looked_into_bytes(progress.session.predicate, exchange) > _AT_ONCE_BYTES
        ):
            self._waiting[exchange.tap_id] += 1
            return LATER
        return self._judged(exchange, None)

    def fits(self, exchange: Exchange) -> bool:
        """Whether the session of *exchange*, which is `LATER`, wants it; from any thread."""
        plain, told = taken_off(exchange)
        progress, redactor = self._sessions.get(plain.tap_id), self._redactors.get(plain.tap_id)
        if progress is None or redactor is None or not progress.is_open or not self._policy.allows(plain):
            return False
        return matches(progress.session.predicate, plain, told.decided, redactor)

    def admit_late(self, exchange: Exchange, *, fits: bool) -> Exchange | None:
        """Return what is to be stored of *exchange*, which was `LATER`, now that it is known whether it *fits*."""
        self._waiting[exchange.tap_id] -= 1
        admitted = self._judged(exchange, fits)
        if admitted is None:
            self.watching.wake(exchange.tap_id)
        return admitted

    def _judged(self, exchange: Exchange, fits: bool | None) -> Exchange | None:
        plain, told = taken_off(exchange)
        progress = self._sessions.get(plain.tap_id)
        if progress is None:
            self.verdicts.add((_NO_SESSION,))
            return None
        progress.counts["skipped"] += told.skipped
        is_allowed = self._policy.allows(plain) and within(progress.session.paths, plain)
        hiding = self._redactors[plain.tap_id]
        verdict = progress.judge(
            plain, self._clock(), told.decided, hiding, forbidden=not is_allowed, fits=fits
        )
        self.verdicts.add((verdict.value,))
        self._unsaved.add(plain.tap_id)
        if progress.state is State.EXHAUSTED and verdict in {Verdict.CAPTURED, Verdict.OVER_LIMIT}:
            self._used_up(progress)
        if verdict is not Verdict.CAPTURED:
            return None
        self._pending[plain.tap_id] += 1
        return plain

    def redacted(self, exchange: Exchange) -> Exchange:
        """Return *exchange*, which was admitted, as it may be stored; from any thread."""
        return self._redactors.get(exchange.tap_id, self._unknown).redacted(exchange)

    def explained(self, exchange: Exchange) -> list[Redacted]:
        """Return what was taken out of *exchange*, and why; from any thread. Raises KeyError without its session."""
        rules = self._sessions[exchange.tap_id].session.redaction
        return explained(exchange, rules, self._policy.never_headers)

    def lose(self, exchange: Exchange, loss: Loss) -> None:
        """Count *exchange*, which was admitted, as dropped."""
        self._settle(exchange.tap_id)
        progress = self._sessions.get(exchange.tap_id)
        if progress is None:
            return
        self._unsaved.add(exchange.tap_id)
        if loss is not Loss.OVER_LIMIT:
            progress.lose(exchange)
            return
        was_open = progress.is_open
        progress.refuse(exchange, self._clock(), is_shared=self._store.is_shared)
        if was_open and not progress.is_open:
            self._used_up(progress)

    def lose_late(self, exchange: Exchange) -> None:
        """Count *exchange*, which was `LATER`, as dropped."""
        self._waiting[exchange.tap_id] -= 1
        progress = self._sessions.get(exchange.tap_id)
        if progress is not None:
            progress.drop()
            self._unsaved.add(exchange.tap_id)
        self.watching.wake(exchange.tap_id)

    def stored(self, exchange: Exchange, kept: Kept) -> None:
        """Count *exchange*, which was admitted, as it was *kept*, and show it to those who watch."""
        self._settle(exchange.tap_id)
        progress = self._sessions.get(exchange.tap_id)
        if progress is not None:
            progress.keep(exchange, kept)
            self._unsaved.add(exchange.tap_id)

    def close(self) -> None:
        """Let go of all who watch; for the end of the service."""
        self.is_closing = True
        self.watching.wake_all()

    def is_over(self, session_id: str) -> bool:
        """Whether nothing more of a session will be stored; raises KeyError."""
        is_awaited = self._pending[session_id] > 0 or self._waiting[session_id] > 0
        return not self.get(session_id).is_open and not is_awaited

    async def refresh(self, session_id: str) -> None:
        """Take over what another replica did to a session; raises OSError if it cannot be read."""
        async with self._saving:
            try:
                snapshot = await asyncio.to_thread(self._store.get, session_id)
            except KeyError:
                self._forget(session_id)
                self._arm()
                return
            progress = self._sessions.get(session_id)
            if progress is None:
                self._keep(snapshot.progress())
            else:
                progress.take_over(snapshot.progress())
        self._arm()
        self.watching.wake(session_id)

    def expire(self) -> None:
        """End what has passed its end."""
        self.all()

    async def save_all(self) -> None:
        """Store what has changed; what cannot be is tried again."""
        for session_id in sorted(self._unsaved):
            progress = self._sessions.get(session_id)
            self._unsaved.discard(session_id)
            if progress is None:
                continue
            try:
                await self._save(progress)
            except OSError as error:
                LOG.error("session %s: its counters cannot be stored: %s", session_id, error)
                self._unsaved.add(session_id)

    async def _save(self, progress: Progress) -> None:
        async with self._saving:
            # It may have been deleted while we waited.
            if self._sessions.get(progress.session.id) is progress:
                with suppress(KeyError):  # another replica has deleted it
                    await asyncio.to_thread(self._store.save, Snapshot.of(progress))

    def _keep(self, progress: Progress) -> None:
        session = progress.session
        self._sessions[session.id] = progress
        self._redactors[session.id] = self._redactor(session)

    def _stop_probing(self, progress: Progress) -> bool:
        """End a session that asks for what the policy, which has changed, or this version does not let it ask."""
        problem = first_refused(progress.session.predicate, self.refusal(progress.session.redaction))
        if not problem or not progress.stop(self._clock(), POLICY):
            return False
        LOG.warning("session %s: stopped, because its predicate is refused: %s", progress.session.id, problem)
        self._unsaved.add(progress.session.id)
        return True

    def _redactor(self, session: Session) -> Redactor:
        most_bytes = session.limits.body_bytes
        return Redactor(
            session.redaction, self._policy.never_headers, self._key, most_opened_bytes=most_bytes
        )

    def _forget(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)
        self._redactors.pop(session_id, None)
        self._unsaved.discard(session_id)
        self._pending.pop(session_id, None)
        if self._waiting[session_id] <= 0:
            del self._waiting[session_id]
        self.watching.wake(session_id)

    def _arm(self) -> None:
        self._slot.replace(each.session for each in self._sessions.values() if each.state is State.ACTIVE)

    def _check_room(self) -> None:
        if len(self._slot.sessions) >= MAX_ACTIVE:
            raise SessionError("session", f"{MAX_ACTIVE} sessions are active", "stop one of them")

    def _end(self, progress: Progress, who: str) -> bool:
        was_open = progress.stop(self._clock(), who)
        if was_open:
            LOG.info("session %s: stopped by %s", progress.session.id, who)
            self._arm()
        return was_open

    def _used_up(self, progress: Progress) -> None:
        session_id, captured = progress.session.id, progress.counts[Verdict.CAPTURED]
        LOG.info("session %s: used up by its %s (%d exchanges)", session_id, progress.ended_by, captured)
        self._ended(session_id)

    def _ended(self, session_id: str) -> None:
        self._arm()
        self.watching.wake(session_id)

    def _settle(self, session_id: str) -> None:
        self._pending[session_id] -= 1
        self.watching.wake(session_id)
