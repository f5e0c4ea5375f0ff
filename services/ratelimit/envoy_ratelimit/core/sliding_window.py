"""The sliding window: two aligned windows, the earlier one weighted by how much of it the last period still covers.

At elapsed time e of a window of length p, usage is `used + previous x (p - e) / p`: exact if the earlier window's hits
came evenly, else an estimate that is off by less than that window's count. It is computed in integers, without rounding.
"""

from typing import NamedTuple, Self

from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, Outcome
from envoy_ratelimit.core.window_state import MAX_USED, SCALE, join, split


class SlidingWindow(NamedTuple):
    """At most `limit` in the last `period_us`; with `debt`, costs that are refused are counted as well."""

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


def used_now(spec: SlidingWindow, state: int, now_us: int) -> tuple[int, int, int]:
    """Return (start of this window in µs, used in it, used in the one before). A window of the future is this one."""
    period_us = spec.period_us
    start_us = now_us - now_us % period_us
    due_us, used, previous = split(state)
    then_us = due_us - 2 * period_us
    if then_us >= start_us:
        return start_us, used, previous
    if then_us == start_us - period_us:
        return start_us, 0, used
    return start_us, 0, 0


def take(spec: SlidingWindow, state: int, now_us: int, cost: int) -> tuple[bool, int]:
    """Take *cost* at *now_us*; return whether that is allowed, and the state that holds afterwards.

    See token_bucket.take. What is given back comes off this window's count first, then off the one before.
    """
    limit, period_us, debt = spec
    if limit == 0:
        return False, 0
    start_us, used, previous = used_now(spec, state, now_us)
    due_us = start_us + 2 * period_us
    if cost < 0:
        after = used + cost
        return True, join(due_us, max(after, 0), max(previous + min(after, 0), 0))
    after = min(used + cost, MAX_USED)
    if previous * (period_us - (now_us - start_us)) <= (limit - after) * period_us:
        return True, join(due_us, after, previous)
    return False, join(due_us, after if debt else used, previous)


def outcome(spec: SlidingWindow, state: int, now_us: int, cost: int, *, allowed: bool) -> Outcome:
    """Return what to say of a take that was decided, see token_bucket.Outcome."""
    limit, period_us, _ = spec
    if limit == 0:
        return allowed, 0, None
    start_us, used, previous = used_now(spec, state, now_us)
    elapsed_us = now_us - start_us
    remaining = max(((limit - used) * period_us - previous * (period_us - elapsed_us)) // period_us, 0)
    if allowed:
        windows = 2 if used else 1 if previous else 0
        return allowed, remaining, windows * period_us - elapsed_us if windows else 0
    if cost > limit:
        return allowed, remaining, None
    room = limit - used - cost
    if room >= 0:
        fits_us = period_us - room * period_us // previous if previous else 0
    else:  # Not in this window; in the next one, this one's count is the one that fades.
        fits_us = 2 * period_us - (limit - cost) * period_us // used
    return allowed, remaining, max(fits_us - elapsed_us, 0)
