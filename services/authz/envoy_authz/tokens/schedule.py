"""When an issuer's keys are looked up again: a state machine without a clock, a socket or a thread in it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import random

NEVER_S = float("inf")


@dataclass(frozen=True, slots=True)
class Timing:
    """How keys are fetched; all in seconds.

    A set is fresh for as long as the issuer says (`max-age`, RFC 9111 section 5.2.2.1), else `fresh_s`, within
    `least_fresh_s` and `most_fresh_s`. It is fetched again before that; while this fails it serves on for `stale_s`
    more. Failures are retried after `retry_s`, doubled each time up to `most_retry_s`. A key that is not in the set
    makes it be fetched again, at most once in `cool_down_s`.
    """

    timeout_s: float = 5.0
    fresh_s: float = 300.0
    least_fresh_s: float = 60.0
    most_fresh_s: float = 3600.0
    stale_s: float = 6 * 3600.0
    retry_s: float = 1.0
    most_retry_s: float = 60.0
    cool_down_s: float = 10.0


class Schedule:
    """Says when to fetch next, and until when the last good set may be used; times are monotonic, in seconds.

    *jitter* returns a number from 0 to 1, so that many processes don't ask an issuer at the same time.
    """

    __slots__ = ("_failures", "_jitter", "_last_s", "_timing", "next_s", "stale_at_s")

    def __init__(self, timing: Timing, jitter: Callable[[], float] = random) -> None:
        self._timing = timing
        self._jitter = jitter
        self._failures = 0
        self._last_s = -NEVER_S
        self.next_s = -NEVER_S
        self.stale_at_s = NEVER_S

    @property
    def failures(self) -> int:
        """How many fetches failed since the last one that did not."""
        return self._failures

    def began(self, now_s: float) -> None:
        """Note that a fetch begins."""
        self._last_s = now_s

    def succeeded(self, now_s: float, max_age_s: float | None) -> None:
        """Note that a fetch ended well; *max_age_s* is None when the issuer did not say."""
        timing = self._timing
        fresh_s = timing.fresh_s if max_age_s is None else max_age_s
        fresh_s = min(max(fresh_s, timing.least_fresh_s), timing.most_fresh_s)
        self._failures = 0
        self.next_s = now_s + fresh_s * (0.9 - 0.2 * self._jitter())
        self.stale_at_s = now_s + fresh_s + timing.stale_s

    def failed(self, now_s: float) -> None:
        """Note that a fetch failed."""
        timing = self._timing
        doublings = min(self._failures, 30)
        self._failures += 1
        wait_s: float = min(timing.retry_s * 2**doublings, timing.most_retry_s)
        self.next_s = now_s + wait_s * (1.0 - 0.5 * self._jitter())

    def wanted(self) -> None:
        """Note that a key was asked for that is not here: fetch as soon as the last fetch is long enough ago."""
        if not self._failures:
            self.next_s = min(self.next_s, self._last_s + self._timing.cool_down_s)
