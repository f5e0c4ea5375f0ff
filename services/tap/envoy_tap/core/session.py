"""A tap session: who captures what, why, how much of it and until when; and what has become of it."""

import math
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from enum import Enum, StrEnum
from typing import Self

from envoy_tap.core.exchange import Exchange
from envoy_tap.core.node import NodeSelector
from envoy_tap.core.predicate import Expr, Hiding, early, is_too_large, matches
from envoy_tap.core.redaction.rules import Redaction


class SessionError(ValueError):
    """A session that cannot be had; `path` is the place in what was asked for (`limits.bytes`).

    `position` is the character of a text in that place, counted from 0, where one is to blame.
    """

    def __init__(self, path: str, message: str, hint: str = "", position: int | None = None) -> None:
        self.path = path
        self.position = position
        self.message = message
        self.hint = hint
        super().__init__(f"{path}: {message}" + (f"; {hint}" if hint else ""))


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a session ends, and how much of an exchange it takes.

    `exchanges` and `bytes` (of headers, bodies and trailers) are of the whole session, `body_bytes` of each body;
    `rate_per_s` is of all proxies together, and of each of their workers.
    """

    duration_s: int = 600
    exchanges: int = 1000
    bytes: int = 64 << 20
    body_bytes: int = 64 << 10
    rate_per_s: int = 100

    def check(self, maxima: "Limits") -> None:
        """Raise SessionError for a limit above *maxima*, or below 1 (`body_bytes`: 0)."""
        for each in fields(self):
            value, most = getattr(self, each.name), getattr(maxima, each.name)
            least = 0 if each.name == "body_bytes" else 1
            if not least <= value <= most:
                raise SessionError(
                    f"limits.{each.name}", f"{value} is out of range", f"{least} to {most} here"
                )

    def warnings(self) -> list[str]:
        """Return what to know of limits that cost the proxies something."""
        if self.body_bytes <= _MUCH_OF_A_BODY:
            return []
        withheld = "one that takes longer, as some of a few hundred KiB do, is left out whole"
        where = (
            f"the driver lua redacts bodies in the proxy's worker, each for some 50 ms at most; {withheld}"
        )
        return [f"{where}; for whole bodies use the driver ext_proc"]


_MUCH_OF_A_BODY = 128 << 10
MAXIMA = Limits(duration_s=24 * 3600, exchanges=100_000, bytes=1 << 30, body_bytes=16 << 20, rate_per_s=1000)


@dataclass(frozen=True, slots=True)
class Session:
    """What was asked for; times are unix seconds, `expires_at_s` whole ones.

    `subject` tells people of the same name apart (see `access.Person`). `team` is whose rule allowed it; of `paths` (templates) one must fit, if there are any. One that `needs_approval`
    begins to wait for it, until `expires_at_s`. `socket`: it wants the bytes of connections, in place of HTTP exchanges.
    """

    id: str
    who: str
    why: str
    predicate: Expr
    created_at_s: float
    expires_at_s: int
    nodes: NodeSelector = field(default_factory=NodeSelector)
    limits: Limits = field(default_factory=Limits)
    redaction: Redaction = field(default_factory=Redaction)
    team: str = ""
    paths: tuple[str, ...] = ()
    needs_approval: bool = False
    socket: bool = False
    subject: str = ""


class State(StrEnum):
    """Where a session is; only an active one captures, and none that has ended becomes active again."""

    WAITING = "waiting"
    ACTIVE = "active"
    EXPIRED = "expired"
    STOPPED = "stopped"
    EXHAUSTED = "exhausted"


_OPEN = frozenset({State.WAITING, State.ACTIVE})
ORDER = dict.fromkeys(State, 2) | {State.WAITING: 0, State.ACTIVE: 1}
"""How far on a session is; it never goes back."""


class Verdict(StrEnum):
    """What became of an exchange that a proxy sent for a session; by these names they are counted."""

    CAPTURED = "captured"
    UNMATCHED = "unmatched"
    OVER_RATE = "over_rate"
    OVER_LIMIT = "over_limit"
    LATE = "late"
    OTHER_NODE = "other_node"
    FORBIDDEN = "forbidden"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was stored of an exchange: a compressed body is opened before, and may be cut."""

    content_bytes: int
    truncated: bool

    @classmethod
    def of(cls, exchange: Exchange) -> Self:
        """Return *exchange*, as it is stored."""
        return cls(exchange.content_bytes, exchange.truncated)


class Later(Enum):
    """The one answer to an exchange that takes long to judge."""

    LATER = "later"


LATER = Later.LATER


LIMIT_OF_EXCHANGES, LIMIT_OF_BYTES, LIMITS = "limit of exchanges", "limit of bytes", "limits"
"""What `Progress.ended_by` says of a session that is used up."""


@dataclass(slots=True)
class Progress:
    """A session's state and counters; `ended_by` is who stopped it, or which limit has used it up.

    `counts` has `seen`, which is the sum of all of `Verdict`; `bytes` captured; of those captured how many are
    `truncated` or `incomplete`; `unread`: of those unmatched, which a condition asked for JSON that is not read for its
    size; and `skipped`: what proxies left out for the rate, as far as they could tell. They are
    of this replica; `elsewhere` are those of the others, as far as they are known here.
    """

    session: Session
    state: State = State.ACTIVE
    ended_at_s: float | None = None
    ended_by: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    approved_by: str = ""
    elsewhere: Counter[str] = field(default_factory=Counter)
    _second: int = 0
    _in_second: int = 0

    def at(self, now_s: float) -> State:
        """Return the state at *now_s*: one that is active or waits past its end is expired."""
        if self.state in _OPEN and now_s >= self.session.expires_at_s:
            self._end(State.EXPIRED, self.session.expires_at_s)
        return self.state

    def stop(self, now_s: float, by: str) -> bool:
        """End a session that has not ended; return whether it was one."""
        was_open = self.at(now_s) in _OPEN
        if was_open:
            self._end(State.STOPPED, now_s)
            self.ended_by = by
        return was_open

    def take_over(self, other: "Progress") -> None:
        """Take over what is known of this session elsewhere: its state if it is further on, and the counters there."""
        self.elsewhere = other.elsewhere
        if ORDER[other.state] > ORDER[self.state]:
            self.session, self.state = other.session, other.state
            self.ended_at_s, self.ended_by, self.approved_by = (
                other.ended_at_s,
                other.ended_by,
                other.approved_by,
            )

    def total(self, name: str) -> int:
        """Return a counter, of all replicas."""
        return self.counts[name] + self.elsewhere[name]

    @property
    def is_open(self) -> bool:
        """Whether the session has not ended, as far as `at` was asked."""
        return self.state in _OPEN

    def approve(self, now_s: float, by: str) -> None:
        """Let a session that waits begin, from now on; raises SessionError for another."""
        if self.at(now_s) is not State.WAITING:
            raise SessionError("session", f"is {self.state}, and does not wait for approval")
        self.session = replace(self.session, expires_at_s=math.ceil(now_s) + self.session.limits.duration_s)
        self.state, self.approved_by = State.ACTIVE, by

    def judge(
        self,
        exchange: Exchange,
        now_s: float,
        decided: str = "",
        hiding: Hiding | None = None,
        *,
        forbidden: bool = False,
        fits: bool | None = None,
    ) -> Verdict:
        """Decide about *exchange*, count it, and end the session when that uses it up.

        *decided* and *hiding* are for `predicate.matches`; *forbidden*: a rule above all sessions says no.
        *fits*: what `predicate.matches` has said, where it was asked before.
        """
        verdict = self._verdict(exchange, now_s)
        if forbidden:
            verdict = Verdict.FORBIDDEN
        elif verdict is None:
            is_wanted = matches(self.session.predicate, exchange, decided, hiding) if fits is None else fits
            verdict = self._captured(exchange, now_s) if is_wanted else self._unmatched(exchange)
        self.counts["seen"] += 1
        self.counts[verdict] += 1
        if verdict is Verdict.OVER_LIMIT:
            self._use_up(LIMIT_OF_BYTES, now_s)
        if verdict is Verdict.CAPTURED:
            self._take(exchange, now_s)
        return verdict

    def keep(self, exchange: Exchange, kept: Kept) -> None:
        """Count *exchange*, which was captured, as it was *kept*."""
        self._count(exchange, -1)
        self._count(exchange, 1, kept)

    def lose(self, exchange: Exchange, verdict: Verdict = Verdict.DROPPED) -> None:
        """Count as *verdict* what was captured and could not be kept."""
        self.counts[Verdict.CAPTURED] -= 1
        self.counts[verdict] += 1
        self._count(exchange, -1)

    def refuse(self, exchange: Exchange, now_s: float, *, is_shared: bool) -> None:
        """Count what was captured, and what the store had no room for in the session's limits, which ends it.

        *is_shared*: others use the limits up, too, and what they have stored is known here a little later.
        """
        self.lose(exchange, Verdict.OVER_LIMIT)
        is_full = self.total(Verdict.CAPTURED) >= self.session.limits.exchanges
        self._use_up(
            LIMIT_OF_EXCHANGES if is_full else LIMITS if is_shared else LIMIT_OF_BYTES,
            now_s,
        )

    def drop(self) -> None:
        """Count an exchange that was lost before it was judged."""
        self.counts["seen"] += 1
        self.counts[Verdict.DROPPED] += 1

    def _verdict(self, exchange: Exchange, now_s: float) -> Verdict | None:
        """Return what is seen without the predicate, if that decides."""
        session = self.session
        if self.at(now_s) is not State.ACTIVE:
            return Verdict.LATE
        if not session.nodes.selects_name(exchange.node):
            return Verdict.OTHER_NODE
        is_of_kind = (exchange.socket is not None) is session.socket
        return None if is_of_kind else Verdict.UNMATCHED

    def _unmatched(self, exchange: Exchange) -> Verdict:
        predicate = self.session.predicate
        if is_too_large(predicate, exchange) and early(predicate, exchange) is not False:
            self.counts["unread"] += 1
        return Verdict.UNMATCHED

    def _captured(self, exchange: Exchange, now_s: float) -> Verdict:
        session = self.session
        if int(now_s) != self._second:
            self._second, self._in_second = int(now_s), 0
        if self._in_second >= session.limits.rate_per_s:
            return Verdict.OVER_RATE
        if self.total("bytes") + exchange.content_bytes > session.limits.bytes:
            return Verdict.OVER_LIMIT
        self._in_second += 1
        return Verdict.CAPTURED

    def _take(self, exchange: Exchange, now_s: float) -> None:
        self._count(exchange, 1)
        if self.total(Verdict.CAPTURED) >= self.session.limits.exchanges:
            self._use_up(LIMIT_OF_EXCHANGES, now_s)

    def _use_up(self, by: str, now_s: float) -> None:
        if self.state in _OPEN:
            self._end(State.EXHAUSTED, now_s)
            self.ended_by = by

    def _count(self, exchange: Exchange, sign: int, kept: Kept | None = None) -> None:
        counted = kept or Kept.of(exchange)
        self.counts["bytes"] += sign * counted.content_bytes
        self.counts["truncated"] += sign * counted.truncated
        self.counts["incomplete"] += sign * exchange.incomplete

    def _end(self, state: State, at_s: float) -> None:
        if self.state in _OPEN:
            self.state, self.ended_at_s = state, at_s
