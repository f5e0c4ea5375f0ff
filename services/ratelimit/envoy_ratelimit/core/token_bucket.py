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
"""A full bucket takes at most 100 years to fill: epoch microseconds plus this stay below 2**53, Lua's exact integers."""


class BucketSpec(NamedTuple):
    """What a bucket holds and how fast it fills; a tuple, for it is unpacked once for every decision.

    `capacity` is in tokens (0 bans: nothing passes, a peek neither), `interval` in ticks for one token, `scale` in
    ticks for one microsecond, and `span` is capacity x interval: the ticks from empty to full (-1 for a ban).
    """

    capacity: int
    interval: int
    scale: int
    span: int

    @classmethod
    def of(cls, tokens: int, period_us: int, capacity: int | None = None) -> Self:
        """Return the bucket that gains *tokens* every *period_us* microseconds and holds *capacity* (default: *tokens*).

        Raises ValueError for negative numbers, an empty period, or more than MAX_SPAN_US from empty to full.
        """
        capacity = tokens if capacity is None else capacity
        if tokens < 0 or capacity < 0 or period_us < 1:
            raise ValueError(f"no bucket has {tokens} tokens for {period_us} µs and room for {capacity}")
        if tokens == 0 or capacity == 0:
            return cls(0, 1, 1, -1)
        if capacity * period_us > MAX_SPAN_US * tokens:
            raise ValueError(
                f"a bucket of {capacity} at {tokens} for {period_us} µs takes over 100 years to fill"
            )
        common = gcd(tokens, period_us)
        interval = period_us // common
        return cls(capacity, interval, tokens // common, capacity * interval)


Outcome = tuple[bool, int, int | None]
"""What a bucket says to one take: (allowed, remaining, reset_us); a plain tuple, for it is made for every decision.

`remaining` is in whole tokens, after the charge if there was one. `reset_us` is in microseconds, rounded up: when
allowed, until the bucket is full again; when refused, until this very cost would pass, or None if it never can.
"""


def take(spec: BucketSpec, tat: int, now_us: int, cost: int) -> tuple[bool, int]:
    """Take *cost* tokens at *now_us*; return whether that is allowed, and the TAT that holds if it is (in ticks).

    A cost of 0 is a peek, allowed unless the bucket is a ban. A negative cost gives tokens back, up to the full bucket.
    A TAT of 0 is a bucket never used. A TAT beyond the empty bucket (a clock that went back) counts as empty. When
    refused, the TAT returned is the one before, brought up to now.
    """
    capacity, interval, scale, span = spec
    now = now_us * scale
    if capacity == 0:
        return False, now
    base = min(max(tat, now), now + span)
    after = max(base + cost * interval, now)
    return (True, after) if after <= now + span else (False, base)


def outcome(spec: BucketSpec, tat: int, now_us: int, cost: int, *, allowed: bool) -> Outcome:
    """Return what to say of a take of *cost* that was decided, the bucket now being at *tat* (in ticks)."""
    capacity, interval, scale, span = spec
    if capacity == 0:
        return allowed, 0, None
    now = now_us * scale
    remaining = (now + span - tat) // interval
    if allowed:
        return allowed, remaining, -(-(tat - now) // scale)
    if cost > capacity:
        return allowed, remaining, None
    return allowed, remaining, -(-(tat + cost * interval - span - now) // scale)
