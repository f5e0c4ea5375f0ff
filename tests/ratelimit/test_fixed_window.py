"""The fixed window against a plain model: a count for each aligned window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from envoy_ratelimit.core.fixed_window import FixedWindow, outcome, take
from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, MICROSECONDS

HOUR_US = 3600 * MICROSECONDS


class FixedWindowMachine(RuleBasedStateMachine):
    """Any sequence of takes, peeks, gifts and pauses gives the same answers as the model."""

    @initialize(
        limit=st.integers(1, 50),
        period_us=st.sampled_from([1, 7, MICROSECONDS, HOUR_US]),
        debt=st.booleans(),
        now_us=st.integers(1, 2**51),
    )
    def start(self, limit: int, period_us: int, debt: bool, now_us: int) -> None:
        self.spec = FixedWindow.of(limit, period_us, debt=debt)
        self.now_us = now_us
        self.state = 0
        self.counts: dict[int, int] = {}

    @rule(cost=st.integers(-3, 60))
    def take(self, cost: int) -> None:
        limit, period_us, debt = self.spec
        window = self.now_us // period_us
        used = self.counts.get(window, 0)
        allowed, self.state = take(self.spec, self.state, self.now_us, cost)
        assert allowed == (cost < 0 or used + cost <= limit)
        if allowed or debt:
            used = self.counts[window] = max(used + cost, 0)
        end_us = (window + 1) * period_us - self.now_us
        expected_reset_us = end_us if allowed or cost <= limit else None
        answer = outcome(self.spec, self.state, self.now_us, cost, allowed=allowed)
        assert answer == (allowed, max(limit - used, 0), expected_reset_us)
        assert self.state == 0 or self.state // self.spec.scale == (window + 1) * period_us

    @rule(percent=st.integers(0, 250))
    def pause(self, percent: int) -> None:
        self.now_us += self.spec.period_us * percent // 100


TestAnySequence = FixedWindowMachine.TestCase


def test_twice_the_limit_passes_around_a_border_as_with_the_reference() -> None:
    spec = FixedWindow.of(10, MICROSECONDS)
    before, after = 5 * MICROSECONDS - 1, 5 * MICROSECONDS
    allowed, state = take(spec, 0, before, 10)
    assert allowed
    assert take(spec, state, after, 10)[0]


def test_with_debt_what_is_refused_counts_as_the_reference_has_it() -> None:
    spec = FixedWindow.of(3, HOUR_US, debt=True)
    state, answers = 0, []
    for cost in (2, 2, 1, -2, 0):
        allowed, state = take(spec, state, 1, cost)
        answers.append((allowed, outcome(spec, state, 1, cost, allowed=allowed)[1]))
    assert answers == [(True, 1), (False, 0), (False, 0), (True, 0), (True, 0)]
    assert take(spec, state, 1, 1)[0] is False


def test_a_peek_is_refused_in_debt_alone() -> None:
    spec = FixedWindow.of(3, HOUR_US, debt=True)
    _, full = take(spec, 0, 1, 3)
    assert take(spec, full, 1, 0)[0]
    _, over = take(spec, full, 1, 1)
    assert not take(spec, over, 1, 0)[0]


@given(st.integers(-5, 10))
def test_a_ban_lets_nothing_pass(cost: int) -> None:
    spec = FixedWindow.of(0, HOUR_US)
    assert take(spec, 0, 1, cost) == (False, 0)
    assert outcome(spec, 0, 1, cost, allowed=False) == (False, 0, None)


def test_a_clock_that_went_back_keeps_the_count_for_the_window_it_is_in_now() -> None:
    spec = FixedWindow.of(3, MICROSECONDS)
    _, state = take(spec, 0, HOUR_US, 3)
    assert not take(spec, state, MICROSECONDS, 1)[0]


@pytest.mark.parametrize(("limit", "period_us"), [(-1, 1), (1, 0), (1, MAX_SPAN_US + 1)])
def test_a_window_that_cannot_be_is_refused(limit: int, period_us: int) -> None:
    with pytest.raises(ValueError, match="window"):
        FixedWindow.of(limit, period_us)
