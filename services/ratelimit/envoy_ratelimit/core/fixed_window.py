"""The fixed window: a count from each multiple of the period (since the Unix epoch) to the next, as the reference has it.

Simple and known, with its known fault: twice the limit may pass around the border of two windows.
"""

from typing import NamedTuple, Self

from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, Outcome
from envoy_ratelimit.core.window_state import MAX_USED, SCALE, join, split


class FixedWindow(NamedTuple):
    """At most `limit` in each window of `period_us`; with `debt`, costs that are refused are counted as well."""

    limit: int
    period_us: int
    debt: bool

    @property
    def capacity(self) -> int:
        """The most that may pass at once; 0 is a ban."""
        return self.limit

    @property
    def scale(self) -> int:
        """What a state is divided by for the microsecond it is as new."""
        return SCALE

    @classmethod
    def of(cls, limit: int, period_us: int, *, debt: bool = False) -> Self:
        """Return the window; ValueError for a negative limit, or a period that is not from 1 µs to 100 years."""
        if limit < 0 or not 0 < period_us <= MAX_SPAN_US:
            raise ValueError(f"no window holds {limit} in {period_us} µs")
        return cls(limit, period_us, debt)


def used_now(spec: FixedWindow, state: int, now_us: int) -> tuple[int, int]:
    """Return (the end of this window in µs, what is used in it). A window of the future (a clock that went back) is this one."""
    end_us = now_us - now_us % spec.period_us + spec.period_us
    due_us, used, _ = split(state)
    return end_us, used if due_us >= end_us else 0


def take(spec: FixedWindow, state: int, now_us: int, cost: int) -> tuple[bool, int]:
    """Take *cost* at *now_us*; return whether that is allowed, and the state that holds afterwards.

    See token_bucket.take: 0 peeks, a negative cost gives back what was used in this window, down to nothing.
    """
    if spec.limit == 0:
        return False, 0
    end_us, used = used_now(spec, state, now_us)
    after = min(max(used + cost, 0), MAX_USED)
    if after <= spec.limit or cost < 0:
        return True, join(end_us, after)
    return False, join(end_us, after if spec.debt else used)


def outcome(spec: FixedWindow, state: int, now_us: int, cost: int, *, allowed: bool) -> Outcome:
    """Return what to say of a take that was decided: the reset is the end of the window, for whom it helps."""
    if spec.limit == 0:
        return allowed, 0, None
    end_us, used = used_now(spec, state, now_us)
    reset_us = end_us - now_us if allowed or cost <= spec.limit else None
    return allowed, max(spec.limit - used, 0), reset_us
