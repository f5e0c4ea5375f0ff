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
from envoy_ratelimit.core.token_bucket import MICROSECONDS, Outcome
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
)


@pytest.mark.parametrize("policy", FailurePolicy)
def test_a_rules_own_policy_goes_before_the_services(policy: FailurePolicy) -> None:
    limiter = Limiter(POLICIES, GoneStore(), on_failure=policy)
    assert verdicts(limiter, "allow") == (False, [Verdict.FAILED_OPEN])
    assert verdicts(limiter, "deny") == (True, [Verdict.FAILED_CLOSED])
    assert verdicts(limiter, "ban", "allow") == (True, [Verdict.OVER_LIMIT, Verdict.FAILED_OPEN])
    assert verdicts(limiter, "unsaid")[0] == (policy is FailurePolicy.DENY)


def test_nobody_is_refused_for_a_quota_that_is_not_known() -> None:
    assert verdicts(Limiter(POLICIES, GoneStore()), "quota") == (False, [Verdict.FAILED_OPEN])


def test_without_local_buckets_what_wants_them_passes() -> None:
    assert verdicts(Limiter(POLICIES, GoneStore()), "local") == (False, [Verdict.FAILED_OPEN])


def test_local_buckets_hold_a_share_and_are_not_charged_for_what_is_refused_anyway() -> None:
    local = LocalShare(MemoryStore(clock=lambda: MICROSECONDS), 0.5)
    limiter = Limiter(POLICIES, GoneStore(), local=local)
    for _ in range(3):
        assert verdicts(limiter, "local", "deny") == (True, [Verdict.OK, Verdict.FAILED_CLOSED])
    answers = [verdicts(limiter, "local") for _ in range(3)]
    assert answers == [(False, [Verdict.OK]), (False, [Verdict.OK]), (True, [Verdict.OVER_LIMIT])]


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


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="a share is"):
        LocalShare(MemoryStore(), share)
