"""The sliding window against a model in exact rational numbers."""

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from envoy_ratelimit.core.sliding_window import SlidingWindow, outcome, take
from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, MICROSECONDS, Outcome

HOUR_US = 3600 * MICROSECONDS


class Weighted:
    """Counts of aligned windows; the earlier one counts by the part of it that the last period covers."""

    def __init__(self, limit: int, period_us: int, *, debt: bool) -> None:
        self.limit, self.period_us, self.debt = limit, period_us, debt
        self.counts: dict[int, int] = {}

    def usage(self, now_us: int) -> Fraction:
        window, elapsed_us = divmod(now_us, self.period_us)
        covered = 1 - Fraction(elapsed_us, self.period_us)
        return self.counts.get(window, 0) + self.counts.get(window - 1, 0) * covered

    def take(self, now_us: int, cost: int) -> Outcome:
        window = now_us // self.period_us
        allowed = cost < 0 or self.usage(now_us) + cost <= self.limit
        if cost < 0:
            left = self.counts.get(window, 0) + cost
            self.counts[window] = max(left, 0)
            self.counts[window - 1] = max(self.counts.get(window - 1, 0) + min(left, 0), 0)
        elif allowed or self.debt:
            self.counts[window] = self.counts.get(window, 0) + cost
        remaining = max(math.floor(self.limit - self.usage(now_us)), 0)
        return allowed, remaining, self.wait_us(now_us, cost, allowed=allowed)

    def wait_us(self, now_us: int, cost: int, *, allowed: bool) -> int | None:
        start_us = now_us - now_us % self.period_us
        if allowed:
            fading = [at for at in (1, 0) if self.counts.get(start_us // self.period_us - 1 + at)]
            return start_us + (fading[0] + 1) * self.period_us - now_us if fading else 0
        if cost > self.limit:
            return None
        # Usage only falls, so the first microsecond that fits is found by halving.
        low, high = now_us, start_us + 2 * self.period_us
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.usage(middle) + cost <= self.limit else (middle + 1, high)
        return low - now_us


class SlidingWindowMachine(RuleBasedStateMachine):
    """Any sequence of takes, peeks, gifts and pauses gives the same answers as the model."""

    @initialize(
        limit=st.integers(1, 50),
        period_us=st.sampled_from([1, 7, 1000, MICROSECONDS, HOUR_US]),
        debt=st.booleans(),
        now_us=st.integers(1, 2**51),
    )
    def start(self, limit: int, period_us: int, debt: bool, now_us: int) -> None:
        self.spec = SlidingWindow.of(limit, period_us, debt=debt)
        self.model = Weighted(limit, period_us, debt=debt)
        self.now_us = now_us
        self.state = 0

    @rule(cost=st.integers(-3, 60))
    def take(self, cost: int) -> None:
        allowed, self.state = take(self.spec, self.state, self.now_us, cost)
        answer = outcome(self.spec, self.state, self.now_us, cost, allowed=allowed)
        assert answer == self.model.take(self.now_us, cost)

    @rule(percent=st.integers(0, 250))
    def pause(self, percent: int) -> None:
        self.now_us += self.spec.period_us * percent // 100


TestAnySequence = SlidingWindowMachine.TestCase


@given(
    limit=st.integers(1, 1000),
    period_us=st.integers(1, HOUR_US),
    previous=st.integers(0, 1000),
    used=st.integers(0, 1000),
    cost=st.integers(1, 1000),
    elapsed=st.integers(0, 99),
)
def test_a_refused_cost_passes_after_the_wait_it_was_told_and_not_a_microsecond_earlier(  # noqa: PLR0917 - drawn
    limit: int, period_us: int, previous: int, used: int, cost: int, elapsed: int
) -> None:
    spec = SlidingWindow.of(limit, period_us)
    start_us = 1000 * period_us
    _, state = take(spec, 0, start_us - period_us, min(previous, limit))
    now_us = start_us + period_us * elapsed // 100
    _, state = take(spec, state, now_us, used)
    allowed, state = take(spec, state, now_us, cost)
    wait_us = outcome(spec, state, now_us, cost, allowed=allowed)[2]
    assume(not allowed)
    if wait_us is None:
        assert cost > limit
        return
    assert take(spec, state, now_us + wait_us, cost)[0]
    assert not take(spec, state, now_us + wait_us - 1, cost)[0]


@given(costs=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 40)), max_size=60))
def test_no_window_of_the_clock_admits_more_than_the_limit_and_no_two_in_a_row_twice(
    costs: list[tuple[int, int]],
) -> None:
    spec = SlidingWindow.of(20, 100)
    state, now_us = 0, 5000
    admitted: dict[int, int] = {}
    for cost, pause_us in costs:
        now_us += pause_us
        allowed, state = take(spec, state, now_us, cost)
        admitted[now_us // 100] = admitted.get(now_us // 100, 0) + cost * allowed
    assert all(count <= 20 for count in admitted.values())


def test_no_twice_the_limit_passes_around_a_border() -> None:
    spec = SlidingWindow.of(10, MICROSECONDS)
    allowed, state = take(spec, 0, 5 * MICROSECONDS - 1, 10)
    assert allowed
    assert not take(spec, state, 5 * MICROSECONDS, 1)[0]
    assert take(spec, state, 5_500_000, 5)[0]
    assert not take(spec, state, 5_500_000, 6)[0]


@given(st.integers(-5, 10))
def test_a_ban_lets_nothing_pass(cost: int) -> None:
    spec = SlidingWindow.of(0, HOUR_US)
    assert take(spec, 0, 1, cost) == (False, 0)
    assert outcome(spec, 0, 1, cost, allowed=False) == (False, 0, None)


@pytest.mark.parametrize(("limit", "period_us"), [(-1, 1), (1, 0), (1, MAX_SPAN_US + 1)])
def test_a_window_that_cannot_be_is_refused(limit: int, period_us: int) -> None:
    with pytest.raises(ValueError, match="window"):
        SlidingWindow.of(limit, period_us)
