"""The token bucket as GCRA (ITU-T I.371, "virtual scheduling"), in integer arithmetic that never rounds a state.

A bucket is one number, its theoretical arrival time (TAT): when it will be full again. Time is counted in *ticks*. A
rate's tick is 1/scale of a microsecond, with the scale chosen so that one token takes a whole number of ticks: 3
requests a second give 1,000,000 ticks of 1/3 µs for each. So states are exact, whatever the rate; only the clock
(whole microseconds) and the two answers `remaining` (down) and `reset_us` (up) are rounded.
"""

from math import gcd
from typing import NamedTuple, Self

MICROSECONDS = 1_000_000
MAX_SPAN_US = 100 * 365 * 86_400 * MICROSECONDS
"""A full bucket takes at most 100 years to fill."""
MAX_DEBT_US = 2 * MAX_SPAN_US
"""No TAT is later than this from now: epoch microseconds plus this stay below 2**53, Lua's exact integers."""


class BucketSpec(NamedTuple):
    """What a bucket holds and how fast it fills; a tuple, for it is unpacked once for every decision.

    `capacity` is in tokens (0 bans: nothing passes, a peek neither), `interval` in ticks for one token, `scale` in
    ticks for one microsecond, and `span` is capacity x interval: the ticks from empty to full (-1 for a ban).
    `ceiling` is how many ticks from now the TAT may be at most: the span, or more for a bucket that takes on debt.
    """

    capacity: int
    interval: int
    scale: int
    span: int
    ceiling: int

    @property
    def debt(self) -> bool:
        """Whether a cost that it refuses is charged all the same."""
        return self.ceiling > self.span

    @classmethod
    def of(cls, tokens: int, period_us: int, capacity: int | None = None, *, debt: bool = False) -> Self:
        """Return the bucket that gains *tokens* every *period_us* microseconds and holds *capacity* (default: *tokens*).

        With *debt* it is charged by costs that it refuses as well, and then has to fill that much longer. Raises ValueError for negative numbers, an empty period, or more than MAX_SPAN_US from empty to full.
        """
        capacity = tokens if capacity is None else capacity
        if tokens < 0 or capacity < 0 or period_us < 1:
            raise ValueError(f"no bucket has {tokens} tokens for {period_us} µs and room for {capacity}")
        if tokens == 0 or capacity == 0:
            return cls(0, 1, 1, -1, -1)
        if capacity * period_us > MAX_SPAN_US * tokens:
            raise ValueError(
                f"a bucket of {capacity} at {tokens} for {period_us} µs takes over 100 years to fill"
            )
        common = gcd(tokens, period_us)
        interval, scale = period_us // common, tokens // common
        span = capacity * interval
        return cls(capacity, interval, scale, span, MAX_DEBT_US * scale if debt else span)


Outcome = tuple[bool, int, int | None]
"""What a bucket says to one take: (allowed, remaining, reset_us); a plain tuple, for it is made for every decision.

`remaining` is in whole tokens, after the charge if there was one. `reset_us` is in microseconds, rounded up: when
allowed, until the bucket is as new (full again; for a fixed window, its end); when refused, until this very cost would
pass, or None if it never can.
"""


def take(spec: BucketSpec, tat: int, now_us: int, cost: int) -> tuple[bool, int]:
    """Take *cost* tokens at *now_us*; return whether that is allowed, and the TAT that holds afterwards (in ticks).

    A cost of 0 is a peek: allowed unless the bucket is in debt or a ban. A negative cost gives tokens back, up to the
    full bucket, and is refused by a ban only. A TAT of 0 is a bucket never used, one beyond the ceiling (a clock that
    went back) counts as the ceiling. When refused, a bucket without debt is as before, brought up to now.
    """
    capacity, interval, scale, span, ceiling = spec
    now = now_us * scale
    if capacity == 0:
        return False, now
    base = min(max(tat, now), now + ceiling)
    after = max(base + cost * interval, now)
    if after <= now + span or cost < 0:
        return True, after
    return False, min(after, now + ceiling) if ceiling > span else base


def outcome(spec: BucketSpec, tat: int, now_us: int, cost: int, *, allowed: bool) -> Outcome:
    """Return what to say of a take of *cost* that was decided, the bucket now being at *tat* (in ticks)."""
    capacity, interval, scale, span, ceiling = spec
    if capacity == 0:
        return allowed, 0, None
    now = now_us * scale
    tat = min(max(tat, now), now + ceiling)
    remaining = max((now + span - tat) // interval, 0)
    if allowed:
        return allowed, remaining, -(-(tat - now) // scale)
    if cost > capacity:
        return allowed, remaining, None
    return allowed, remaining, max(-(-(tat + cost * interval - span - now) // scale), 0)
