"""The limiter's modes: what replaces what, quotas, what is charged when refused, and what holds without the store.

What Envoy gets for them is in tests/conformance/ratelimit; here is what a plan is made of.
"""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.fallback import LocalShare
from envoy_ratelimit.core.limiter import FailurePolicy, Hits, Limiter, Verdict
from envoy_ratelimit.core.rule import Charge, Rate, Rule, Unit
from envoy_ratelimit.core.rules import Defaults, Descriptor, Domain, Limit, Rules, compile_rules
from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, StoreError, Take
from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, MICROSECONDS, BucketSpec, Outcome
from envoy_ratelimit.stores.memory import MemoryStore

DAY = Rate(4, Unit.DAY)


class GoneStore:
    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        raise StoreError("timeout", f"{len(batch)} requests were not decided")

    def close(self) -> None:
        """Nothing is open."""


def rules_of(*descriptors: Descriptor, defaults: Defaults = Defaults()) -> Rules:  # noqa: B008 - frozen
    return compile_rules([Domain("d", descriptors)], defaults)


def of(key: str, value: str = "v", override: Rate | None = None) -> Hits:
    return [(key, value)], None, override


def limit(rate: Rate | None = DAY, **fields: object) -> Limit:
    return Limit(rate, **fields)  # type: ignore[arg-type]


def modes(rules: Rules, *descriptors: Hits) -> list[int]:
    return [mode for _, _, _, mode in Limiter(rules, MemoryStore()).plan("d", descriptors).takes]


def test_a_take_has_the_mode_of_its_rule() -> None:
    rules = rules_of(
        Descriptor("plain", "", limit()),
        Descriptor("shadow", "", limit(), shadow_mode=True),
        Descriptor("quota", "", limit(), quota_mode=True),
        Descriptor("both", "", limit(), shadow_mode=True, quota_mode=True),
        Descriptor("each", "", limit(charge=Charge.EACH)),
        Descriptor("always", "", limit(charge=Charge.ALWAYS), quota_mode=True),
    )
    keys = ("plain", "shadow", "quota", "both", "each", "always")
    assert modes(rules, *map(of, keys)) == [ENFORCED, 0, QUOTA, 0, ENFORCED | KEPT, QUOTA | KEPT]


def test_an_override_has_the_defaults() -> None:
    defaults = Defaults(algorithm=Algorithm.FIXED_WINDOW, shadow_mode=True)
    ((_, spec, _, mode),) = (
        Limiter(rules_of(defaults=defaults), MemoryStore()).plan("d", [of("k", override=DAY)]).takes
    )
    assert type(spec).__name__ == "FixedWindow"
    assert spec.debt
    assert mode == KEPT


def test_what_is_replaced_is_not_taken_and_keeps_its_place() -> None:
    rules = rules_of(
        Descriptor("a", "", limit(name="x")),
        Descriptor("b", "", limit(name="y", replaces=("x", "free"))),
        Descriptor("c", "", limit(None, name="free")),
    )
    plan = Limiter(rules, MemoryStore()).plan("d", [of("a"), of("none"), of("b"), of("c")])
    assert [rule and (rule.path, rule.dropped) for rule in plan.rules] == [
        ("a", True),
        None,
        ("b", False),
        ("c", False),
    ]
    assert len(plan.takes) == 1
    alone = Limiter(rules, MemoryStore()).plan("d", [of("a"), of("c")])
    assert len(alone.takes) == 1
    assert not any(rule and rule.dropped for rule in alone.rules)


def test_the_same_rule_stands_for_what_is_replaced_each_time() -> None:
    rules = rules_of(
        Descriptor("a", "", limit(name="x")), Descriptor("b", "", limit(name="y", replaces=("x",)))
    )
    limiter = Limiter(rules, MemoryStore())
    plans = [limiter.plan("d", [of("a"), of("b")]) for _ in range(2)]
    assert plans[0].rules[0] is plans[1].rules[0]


def verdicts(limiter: Limiter, *keys: str) -> tuple[bool, list[Verdict | None]]:
    ((over, statuses),) = limiter.decide([("d", [of(key) for key in keys], 0)])
    return over, [status and status[1] for status in statuses]


POLICIES = rules_of(
    Descriptor("unsaid", "", limit()),
    *(Descriptor(policy.value, "", limit(on_failure=policy)) for policy in FailurePolicy),
    Descriptor("ban", "", limit(Rate(0, Unit.DAY), on_failure=FailurePolicy.ALLOW)),
    Descriptor("quota", "", limit(on_failure=FailurePolicy.DENY), quota_mode=True),
    Descriptor("open quota", "", limit(on_failure=FailurePolicy.ALLOW), quota_mode=True),
    Descriptor("local quota", "", limit(on_failure=FailurePolicy.LOCAL), quota_mode=True),
    Descriptor("quota ban", "", limit(Rate(0, Unit.DAY)), quota_mode=True),
    Descriptor("shadow ban", "", limit(Rate(0, Unit.DAY)), shadow_mode=True),
    Descriptor("free quota", "", limit(None), quota_mode=True),
)


@pytest.mark.parametrize("policy", FailurePolicy)
def test_a_rules_own_policy_goes_before_the_services(policy: FailurePolicy) -> None:
    limiter = Limiter(POLICIES, GoneStore(), on_failure=policy)
    assert verdicts(limiter, "allow") == (False, [Verdict.FAILED_OPEN])
    assert verdicts(limiter, "deny") == (True, [Verdict.FAILED_CLOSED])
    assert verdicts(limiter, "ban", "allow") == (True, [Verdict.OVER_LIMIT, Verdict.FAILED_OPEN])
    assert verdicts(limiter, "unsaid")[0] == (policy is FailurePolicy.DENY)


FAILED_OPEN, FAILED_CLOSED = Verdict.FAILED_OPEN, Verdict.FAILED_CLOSED
OVER_LIMIT, OVER_QUOTA = Verdict.OVER_LIMIT, Verdict.OVER_QUOTA


@pytest.mark.parametrize(
    ("keys", "over", "expected"),
    [
        (("quota",), True, [FAILED_CLOSED]),
        (("quota", "allow"), True, [FAILED_CLOSED, FAILED_OPEN]),
        (("quota", "quota ban"), True, [FAILED_CLOSED, OVER_LIMIT]),
        (("quota", "open quota"), False, [OVER_QUOTA, FAILED_OPEN]),
        (("quota ban", "open quota"), False, [OVER_QUOTA, FAILED_OPEN]),
        (("quota ban", "free quota", "none"), True, [OVER_LIMIT, Verdict.UNLIMITED, None]),
        (("open quota",), False, [FAILED_OPEN]),
        (("shadow ban",), False, [Verdict.SHADOWED]),
    ],
)
def test_quotas_refuse_without_the_store_as_with_it(
    keys: tuple[str, ...], over: bool, expected: list[Verdict | None]
) -> None:
    assert verdicts(Limiter(POLICIES, GoneStore()), *keys) == (over, expected)


@pytest.mark.parametrize("key", ["ban", "quota ban", "shadow ban"])
def test_a_ban_is_the_same_without_the_store(key: str) -> None:
    assert verdicts(Limiter(POLICIES, GoneStore()), key) == verdicts(Limiter(POLICIES, MemoryStore()), key)


def test_without_local_buckets_what_wants_them_passes() -> None:
    assert verdicts(Limiter(POLICIES, GoneStore()), "local") == (False, [Verdict.FAILED_OPEN])


def test_local_buckets_hold_a_share_and_are_not_charged_for_what_is_refused_anyway() -> None:
    local = LocalShare(MemoryStore(clock=lambda: MICROSECONDS), 0.5)
    limiter = Limiter(POLICIES, GoneStore(), local=local)
    for _ in range(3):
        assert verdicts(limiter, "local", "deny") == (True, [Verdict.OK, Verdict.FAILED_CLOSED])
    answers = [verdicts(limiter, "local") for _ in range(3)]
    assert answers == [(False, [Verdict.OK]), (False, [Verdict.OK]), (True, [Verdict.OVER_LIMIT])]
    # One that is empty says so, whatever else refuses.
    assert verdicts(limiter, "local", "deny") == (True, [OVER_LIMIT, Verdict.FAILED_CLOSED])


def test_local_buckets_of_quotas_know_of_the_others() -> None:
    def limiter() -> Limiter:
        return Limiter(
            POLICIES, GoneStore(), local=LocalShare(MemoryStore(clock=lambda: MICROSECONDS), Fraction(1, 4))
        )

    beside_open = limiter()
    keys = ("local quota", "open quota", "local")
    assert verdicts(beside_open, *keys) == (False, [Verdict.OK, FAILED_OPEN, Verdict.OK])
    # The quota in here is over, and the other one is not: the limit beside them is charged and so refuses.
    assert verdicts(beside_open, "local quota", "open quota") == (False, [OVER_QUOTA, FAILED_OPEN])
    assert verdicts(beside_open, *keys)[1] == [OVER_QUOTA, FAILED_OPEN, OVER_LIMIT]
    charged = limiter()
    verdicts(charged, "local quota")
    assert verdicts(charged, *keys) == (False, [OVER_QUOTA, FAILED_OPEN, Verdict.OK])
    assert verdicts(charged, "local") == (True, [OVER_LIMIT])

    beside_closed = limiter()
    for _ in range(2):
        # The request is refused by its one quota, so the limit beside it is not charged.
        assert verdicts(beside_closed, "quota", "local") == (True, [FAILED_CLOSED, Verdict.OK])
    assert verdicts(beside_closed, "quota", "local quota") == (False, [OVER_QUOTA, Verdict.OK])
    assert verdicts(beside_closed, "quota", "local quota") == (True, [FAILED_CLOSED, OVER_LIMIT])


@given(
    requests=st.integers(1, 2**32 - 1),
    unit=st.sampled_from(Unit),
    algorithm=st.sampled_from(Algorithm),
    burst=st.none() | st.integers(1, 1000),
    replicas=st.integers(1, 50),
)
def test_the_shares_of_all_replicas_are_at_most_the_limit_or_one_each(
    requests: int, unit: Unit, algorithm: Algorithm, burst: int | None, replicas: int
) -> None:
    if algorithm is not Algorithm.TOKEN_BUCKET or (burst or 0) > requests:
        burst = None
    rule = Rule("d", "p", Rate(requests, unit), algorithm=algorithm, burst=burst)
    share = rule.bucket_with(Fraction(1, replicas))
    assert share.capacity >= 1
    assert share.capacity == 1 or share.capacity * replicas <= (burst or requests)


@pytest.mark.parametrize("unit", Unit)
def test_the_least_share_of_the_least_limit_holds_one_request_and_fills_within_a_century(unit: Unit) -> None:
    rule = Rule("d", "p", Rate(1, unit))
    least = rule.bucket_with(Fraction(1, 1_000_000))
    assert isinstance(least, BucketSpec)
    assert least.capacity == 1
    own_us = unit.seconds * MICROSECONDS * 1_000_000
    assert Fraction(least.span, least.scale) == min(own_us, MAX_SPAN_US)


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="a share is"):
        LocalShare(MemoryStore(), share)
