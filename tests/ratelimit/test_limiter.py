"""The limiter: what requests get, on a clock that stands unless the test moves it."""

from collections.abc import Sequence

import pytest

from envoy_ratelimit.core.limiter import (
    UNLIMITED_REMAINING,
    FailurePolicy,
    Hits,
    Limiter,
    Verdict,
)
from envoy_ratelimit.core.rule import Rate, Unit
from envoy_ratelimit.core.rules import Descriptor, Domain, Limit, Rules, compile_rules
from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, Outcome
from envoy_ratelimit.stores.memory import MemoryStore

MINUTE_US = 60 * MICROSECONDS
Seen = tuple[Verdict, int, int | None] | None


def per_minute(key: str, requests: int, *, shadow_mode: bool = False) -> Descriptor:
    return Descriptor(key, "", Limit(Rate(requests, Unit.MINUTE)), shadow_mode=shadow_mode)


RULES = compile_rules(
    [
        Domain(
            "d",
            (
                per_minute("six", 6),
                per_minute("two", 2),
                per_minute("ban", 0),
                per_minute("shadow", 1, shadow_mode=True),
                per_minute("shadow-ban", 0, shadow_mode=True),
                Descriptor("free", "", Limit(None)),
                Descriptor("fixed", "value", Limit(Rate(3, Unit.MINUTE))),
                Descriptor("listed", ""),
            ),
        )
    ]
)


class Clock:
    def __init__(self) -> None:
        self.now_us = 1_000 * MICROSECONDS

    def __call__(self) -> int:
        return self.now_us


class FailingStore:
    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        raise StoreError("timeout", f"{len(batch)} requests were not decided")

    def close(self) -> None:
        """Nothing is open."""


class Bench:
    """A limiter, its clock and its store; `ask` gives what one request got."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        self.limiter = Limiter(rules, self.store)

    def ask(self, *descriptors: Hits, hits: int = 0, domain: str = "d") -> tuple[bool, list[Seen]]:
        ((over, statuses),) = self.limiter.decide([(domain, descriptors, hits)])
        return over, [status and status[1:] for status in statuses]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def of(key: str, value: str = "v", hits: int | None = None, override: Rate | None = None) -> Hits:
    return [(key, value)], hits, override


def test_it_admits_the_limit_at_once_and_then_its_rate(bench: Bench) -> None:
    assert [bench.ask(of("six"))[0] for _ in range(7)] == [False] * 6 + [True]
    bench.clock.now_us += 10 * MICROSECONDS - 1
    assert bench.ask(of("six")) == (True, [(Verdict.OVER_LIMIT, 0, 1)])
    bench.clock.now_us += 1
    assert bench.ask(of("six")) == (False, [(Verdict.OK, 0, MINUTE_US)])
    assert bench.ask(of("six"))[0]


def test_each_value_has_its_own_bucket(bench: Bench) -> None:
    assert [bench.ask(of("two", user))[0] for user in "aababb"] == [False, False, False, True, False, True]


def test_an_unknown_domain_and_an_unmatched_descriptor_pass_bare(bench: Bench) -> None:
    assert bench.ask(of("six"), of("six"), domain="unknown") == (False, [None, None])
    assert bench.ask(of("nothing"), of("listed")) == (False, [None, None])
    assert len(bench.store) == 0


def test_statuses_stand_in_the_order_of_the_descriptors(bench: Bench) -> None:
    over, statuses = bench.ask(of("nothing"), of("free"), of("two"), of("six"))
    assert not over
    assert statuses == [
        None,
        (Verdict.UNLIMITED, UNLIMITED_REMAINING, 0),
        (Verdict.OK, 1, MINUTE_US // 2),
        (Verdict.OK, 5, MINUTE_US // 6),
    ]


def test_all_or_nothing_a_refused_request_is_not_charged_anywhere(bench: Bench) -> None:
    bench.ask(of("two", hits=2))
    over, statuses = bench.ask(of("six"), of("two"))
    assert over
    assert statuses == [(Verdict.OK, 6, 0), (Verdict.OVER_LIMIT, 0, MINUTE_US // 2)]
    assert bench.ask(of("six", hits=0)) == (False, [(Verdict.OK, 6, 0)])


def test_requests_of_a_batch_see_each_others_charges_in_order(bench: Bench) -> None:
    answers = bench.limiter.decide([("d", [of("two")], 0)] * 3)
    assert [over for over, _ in answers] == [False, False, True]


def test_one_bucket_twice_in_a_request_is_charged_twice_or_not_at_all(bench: Bench) -> None:
    assert bench.ask(of("two", hits=1), of("two", hits=2))[0]
    assert bench.ask(of("two"), of("two")) == (
        False,
        [(Verdict.OK, 1, MINUTE_US // 2), (Verdict.OK, 0, MINUTE_US)],
    )


def test_the_cost_is_the_descriptors_own_else_the_requests_else_one(bench: Bench) -> None:
    assert bench.ask(of("six", "a"))[1] == [(Verdict.OK, 5, MINUTE_US // 6)]
    assert bench.ask(of("six", "b"), hits=3)[1] == [(Verdict.OK, 3, MINUTE_US // 2)]
    assert bench.ask(of("six", "c", hits=6), hits=3)[1] == [(Verdict.OK, 0, MINUTE_US)]
    assert bench.ask(of("fixed", "value"), hits=2)[1] == [(Verdict.OK, 1, 2 * MINUTE_US // 3)]


def test_an_own_cost_of_zero_peeks(bench: Bench) -> None:
    bench.ask(of("two"))
    for _ in range(3):
        assert bench.ask(of("two", hits=0), hits=5) == (False, [(Verdict.OK, 1, MINUTE_US // 2)])
    bench.ask(of("two"))
    assert bench.ask(of("two", hits=0)) == (False, [(Verdict.OK, 0, MINUTE_US)])


def test_a_negative_cost_gives_back_up_to_the_full_bucket(bench: Bench) -> None:
    bench.ask(of("six", hits=4))
    assert bench.ask(of("six", hits=-1)) == (False, [(Verdict.OK, 3, MINUTE_US // 2)])
    assert bench.ask(of("six", hits=-100)) == (False, [(Verdict.OK, 6, 0)])
    assert len(bench.store) <= 1


def test_a_cost_above_the_limit_never_passes_and_costs_nothing(bench: Bench) -> None:
    assert bench.ask(of("six", hits=7)) == (True, [(Verdict.OVER_LIMIT, 6, None)])


def test_a_wait_is_for_this_very_cost(bench: Bench) -> None:
    bench.ask(of("six", hits=6))
    assert bench.ask(of("six", hits=1))[1] == [(Verdict.OVER_LIMIT, 0, MINUTE_US // 6)]
    assert bench.ask(of("six", hits=4))[1] == [(Verdict.OVER_LIMIT, 0, 4 * MINUTE_US // 6)]


def test_a_ban_refuses_without_a_wait(bench: Bench) -> None:
    assert bench.ask(of("ban")) == (True, [(Verdict.OVER_LIMIT, 0, None)])


def test_a_shadowed_limit_is_counted_and_refuses_nobody(bench: Bench) -> None:
    assert bench.ask(of("shadow")) == (False, [(Verdict.OK, 0, MINUTE_US)])
    over, statuses = bench.ask(of("shadow"), of("six"), of("shadow-ban"))
    assert not over
    assert statuses == [
        (Verdict.SHADOWED, 0, MINUTE_US),
        (Verdict.OK, 5, MINUTE_US // 6),
        (Verdict.SHADOWED, 0, None),
    ]


def test_a_shadowed_limit_is_not_charged_for_a_request_that_another_refuses(bench: Bench) -> None:
    assert bench.ask(of("shadow"), of("ban"))[0]
    assert bench.ask(of("shadow", hits=0))[1] == [(Verdict.OK, 1, 0)]


def test_an_override_replaces_the_look_up_in_a_known_domain(bench: Bench) -> None:
    one = Rate(1, Unit.HOUR)
    assert bench.ask(of("ban", override=one)) == (False, [(Verdict.OK, 0, 60 * MINUTE_US)])
    assert bench.ask(of("ban", override=one))[0]
    assert not bench.ask(of("ban", "another", override=one))[0]
    assert not bench.ask(of("nothing", override=one))[0]
    assert bench.ask(of("ban", override=Rate(2, Unit.HOUR))) == (False, [(Verdict.OK, 1, 30 * MINUTE_US)])
    assert bench.ask(of("ban", override=one), domain="unknown") == (False, [None])


def test_an_override_and_a_rule_of_the_same_rate_do_not_share_a_bucket(bench: Bench) -> None:
    bench.ask(of("two", hits=2))
    assert not bench.ask(of("two", override=Rate(2, Unit.MINUTE)))[0]


def test_planning_has_no_effect(bench: Bench) -> None:
    for _ in range(5):
        bench.limiter.plan("d", [of("two")])
    assert len(bench.store) == 0


EVERYTHING = (of("nothing"), of("free"), of("six"), of("shadow"))


def test_without_the_store_limits_get_the_failure_policy() -> None:
    request = [("d", EVERYTHING, 0)]
    ((over, statuses),) = Limiter(RULES, FailingStore()).decide(request)
    assert not over
    assert [status and status[1:] for status in statuses] == [
        None,
        (Verdict.UNLIMITED, UNLIMITED_REMAINING, 0),
        (Verdict.FAILED_OPEN, 0, None),
        (Verdict.FAILED_OPEN, 0, None),
    ]
    ((over, statuses),) = Limiter(RULES, FailingStore(), on_failure=FailurePolicy.DENY).decide(request)
    assert over
    assert [status and status[1] for status in statuses] == [
        None,
        Verdict.UNLIMITED,
        Verdict.FAILED_CLOSED,
        Verdict.FAILED_OPEN,
    ]


@pytest.mark.parametrize("policy", FailurePolicy)
def test_without_the_store_a_ban_holds_and_what_has_no_limit_passes(policy: FailurePolicy) -> None:
    limiter = Limiter(RULES, FailingStore(), on_failure=policy)
    answers = limiter.decide(
        [("d", [of("ban")], 0), ("d", [of("free"), of("nothing")], 0), ("d", [of("shadow-ban")], 0)]
    )
    assert [over for over, _ in answers] == [True, False, False]


def test_a_failure_is_told_to_who_settles_himself() -> None:
    limiter = Limiter(RULES, FailingStore())
    with pytest.raises(StoreError, match="1 requests were not decided"):
        limiter.settle([limiter.plan("d", [of("six")])])


def test_a_batch_without_limits_does_not_ask_the_store() -> None:
    limiter = Limiter(RULES, FailingStore())
    assert limiter.settle([limiter.plan("d", [of("free")])])[0][0] is False
    assert limiter.settle([]) == []
