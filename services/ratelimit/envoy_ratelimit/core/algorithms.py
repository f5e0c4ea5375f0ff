"""The three algorithms behind one pair of functions; each is a module of its own."""

from enum import StrEnum

from envoy_ratelimit.core import fixed_window, sliding_window, token_bucket
from envoy_ratelimit.core.fixed_window import FixedWindow
from envoy_ratelimit.core.sliding_window import SlidingWindow
from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome

Spec = BucketSpec | FixedWindow | SlidingWindow
"""What a bucket is, by one of the algorithms. Its state is one number: 0 for one never used, and otherwise
`state / spec.scale` is the microsecond from which on it is as new."""


class Algorithm(StrEnum):
    """How a limit is counted."""

    TOKEN_BUCKET = "token_bucket"  # noqa: S105 - no password
    FIXED_WINDOW = "fixed_window"
    SLIDING_WINDOW = "sliding_window"


def make_spec(
    algorithm: Algorithm, limit: int, period_us: int, *, burst: int | None = None, debt: bool = False
) -> Spec:
    """Return the bucket of *limit* in *period_us*; *burst* is a token bucket's capacity. ValueError if it cannot be."""
    if algorithm is Algorithm.FIXED_WINDOW:
        return FixedWindow.of(limit, period_us, debt=debt)
    if algorithm is Algorithm.SLIDING_WINDOW:
        return SlidingWindow.of(limit, period_us, debt=debt)
    return BucketSpec.of(limit, period_us, burst, debt=debt)


def take(spec: Spec, state: int, now_us: int, cost: int) -> tuple[bool, int]:
    """Take *cost* at *now_us*; return whether that is allowed, and the state that holds afterwards.

    0 peeks, a negative cost gives back. When refused, only a bucket with debt is charged.
    """
    if isinstance(spec, BucketSpec):
        return token_bucket.take(spec, state, now_us, cost)
    if isinstance(spec, FixedWindow):
        return fixed_window.take(spec, state, now_us, cost)
    return sliding_window.take(spec, state, now_us, cost)


def outcome(spec: Spec, state: int, now_us: int, cost: int, *, allowed: bool) -> Outcome:
    """Return what to say of a take of *cost* that was decided, the bucket now being at *state*."""
    if isinstance(spec, BucketSpec):
        return token_bucket.outcome(spec, state, now_us, cost, allowed=allowed)
    if isinstance(spec, FixedWindow):
        return fixed_window.outcome(spec, state, now_us, cost, allowed=allowed)
    return sliding_window.outcome(spec, state, now_us, cost, allowed=allowed)
