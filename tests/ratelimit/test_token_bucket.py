"""The token bucket against a model in exact rational numbers."""

import math
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from envoy_ratelimit.core.token_bucket import (
    MAX_DEBT_US,
    MAX_SPAN_US,
    MICROSECONDS,
    BucketSpec,
    Outcome,
    outcome,
    take,
)

HOUR_US = 3600 * MICROSECONDS


@dataclass
class ExactBucket:
    """Tokens as a fraction, filled continuously: what a token bucket is by definition."""

    capacity: int
    per_us: Fraction
    tokens: Fraction
    now_us: int
    debt: bool

    def take(self, now_us: int, cost: int) -> Outcome:
        self.tokens = min(Fraction(self.capacity), self.tokens + (now_us - self.now_us) * self.per_us)
        self.now_us = now_us
        allowed = cost <= self.tokens or cost < 0
        if allowed or self.debt:
            self.tokens = min(Fraction(self.capacity), self.tokens - cost)
        if allowed:
            reset_us: int | None = math.ceil((self.capacity - self.tokens) / self.per_us)
        else:
            reset_us = math.ceil((cost - self.tokens) / self.per_us) if cost <= self.capacity else None
        return allowed, max(math.floor(self.tokens), 0), reset_us


class TokenBucketMachine(RuleBasedStateMachine):
    """Any sequence of takes, peeks, gifts and pauses gives the same answers as the model."""

    @initialize(
        tokens=st.integers(1, 1000),
        period_us=st.sampled_from([1, 7, MICROSECONDS, 60 * MICROSECONDS, HOUR_US]),
        capacity=st.none() | st.integers(1, 50),
        now_us=st.integers(1, 2**51),
        debt=st.booleans(),
    )
    def start(self, tokens: int, period_us: int, capacity: int | None, now_us: int, debt: bool) -> None:
        self.spec = BucketSpec.of(tokens, period_us, capacity, debt=debt)
        self.now_us = now_us
        self.tat = 0
        held = self.spec.capacity
        self.model = ExactBucket(held, Fraction(tokens, period_us), Fraction(held), now_us, debt)

    @rule(cost=st.integers(-3, 60))
    def take(self, cost: int) -> None:
        allowed, self.tat = take(self.spec, self.tat, self.now_us, cost)
        answer = outcome(self.spec, self.tat, self.now_us, cost, allowed=allowed)
        assert answer == self.model.take(self.now_us, cost)

    @rule(pause_us=st.integers(0, 10 * MICROSECONDS))
    def pause(self, pause_us: int) -> None:
        self.now_us += pause_us

    @rule(share=st.integers(1, 99))
    def pause_for_a_part_of_the_span(self, share: int) -> None:
        self.now_us += self.spec.span * share // (100 * self.spec.scale)


TestAnySequence = TokenBucketMachine.TestCase


@given(
    tokens=st.integers(1, 10_000),
    period_us=st.integers(1, HOUR_US),
    capacity=st.integers(1, 1000),
    cost=st.integers(1, 1000),
    spent=st.integers(0, 1000),
    now_us=st.integers(1, 2**51),
)
def test_a_refused_cost_passes_after_the_wait_it_was_told_and_not_a_microsecond_earlier(  # noqa: PLR0917 - drawn
    tokens: int, period_us: int, capacity: int, cost: int, spent: int, now_us: int
) -> None:
    spec = BucketSpec.of(tokens, period_us, capacity)
    _, tat = take(spec, 0, now_us, min(spent, capacity))
    allowed, tat = take(spec, tat, now_us, cost)
    wait_us = outcome(spec, tat, now_us, cost, allowed=allowed)[2]
    if allowed:
        return
    if wait_us is None:
        assert cost > capacity
        return
    assert take(spec, tat, now_us + wait_us, cost)[0]
    assert not take(spec, tat, now_us + wait_us - 1, cost)[0]


def test_a_cost_that_is_known_only_afterwards_is_never_lost() -> None:
    spec = BucketSpec.of(10, 10 * MICROSECONDS, debt=True)
    allowed, tat = take(spec, 0, HOUR_US, 1000)
    assert outcome(spec, tat, HOUR_US, 1000, allowed=allowed) == (False, 0, None)
    peeked = take(spec, tat, HOUR_US + 989 * MICROSECONDS, 0)[0]
    assert not peeked
    assert take(spec, tat, HOUR_US + 990 * MICROSECONDS, 0)[0]
    assert take(spec, tat, HOUR_US + 991 * MICROSECONDS, 1)[0]


def test_a_debt_ends_at_a_hundred_years_beyond_the_longest_bucket() -> None:
    spec = BucketSpec.of(1, MAX_SPAN_US, debt=True)
    _, tat = take(spec, 0, HOUR_US, 2**32)
    assert tat == HOUR_US + MAX_DEBT_US


def test_a_rate_that_no_microsecond_divides_never_drifts() -> None:
    spec = BucketSpec.of(3, MICROSECONDS)
    tat = 0
    now_us = 1
    for _ in range(3_000):
        now_us += 333_333
        _, tat = take(spec, tat, now_us, 1)
    # A token takes 333,333 µs and a third, so each take but the first adds a third.
    assert outcome(spec, tat, now_us, 0, allowed=True)[2] == 333_333 + 1_000


@pytest.mark.parametrize("cost", [-1, 0, 1, 5])
def test_a_ban_lets_nothing_pass_and_names_no_wait(cost: int) -> None:
    spec = BucketSpec.of(0, MICROSECONDS)
    allowed, tat = take(spec, 0, 1000, cost)
    assert outcome(spec, tat, 1000, cost, allowed=allowed) == (False, 0, None)


def test_a_clock_that_went_back_finds_an_empty_bucket_that_fills_at_its_rate() -> None:
    spec = BucketSpec.of(10, 10 * MICROSECONDS)
    _, tat = take(spec, 0, HOUR_US, 10)
    allowed, tat = take(spec, tat, MICROSECONDS, 1)
    assert outcome(spec, tat, MICROSECONDS, 1, allowed=allowed) == (False, 0, MICROSECONDS)


@pytest.mark.parametrize(
    ("tokens", "period_us", "capacity"),
    [(-1, 1, None), (1, 0, None), (1, -5, None), (1, 1, -1), (1, MAX_SPAN_US, 2)],
)
def test_a_bucket_that_cannot_be_is_refused(tokens: int, period_us: int, capacity: int | None) -> None:
    with pytest.raises(ValueError, match="bucket"):
        BucketSpec.of(tokens, period_us, capacity)


def test_the_longest_bucket_is_allowed() -> None:
    assert BucketSpec.of(1, MAX_SPAN_US).span == MAX_SPAN_US
