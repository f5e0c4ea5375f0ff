"""The denial cache refuses only what the store would refuse, and says what the store would say."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.core.algorithms import Algorithm, Spec, make_spec
from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, StoreError, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, BucketSpec, Outcome
from envoy_ratelimit.stores.denials import DenialCache
from envoy_ratelimit.stores.memory import MemoryStore

HOUR_US = 3600 * MICROSECONDS
SIX_HOURS = BucketSpec.of(6, 6 * HOUR_US)
SPECS: tuple[Spec, ...] = (
    BucketSpec.of(5, MICROSECONDS),
    BucketSpec.of(7, 3 * MICROSECONDS, 3),
    BucketSpec.of(0, MICROSECONDS),
    make_spec(Algorithm.FIXED_WINDOW, 4, MICROSECONDS),
    make_spec(Algorithm.SLIDING_WINDOW, 4, MICROSECONDS),
    make_spec(Algorithm.FIXED_WINDOW, 3, MICROSECONDS, debt=True),
)
MODES = (ENFORCED, ENFORCED, 0, QUOTA, KEPT, ENFORCED, ENFORCED | KEPT)
"""By bucket: takes of one bucket have one mode."""


class Remote(MemoryStore):
    """A store some way off: its clock stands elsewhere, and it decides a while after it was asked."""

    def __init__(self) -> None:
        self.now_us = 10 * MICROSECONDS
        self.way_us = 0
        self.batches = 0
        self.down = False
        super().__init__(clock=lambda: self.now_us + 1_700_000_000 * MICROSECONDS)

    def start(self) -> None:
        """It is there."""

    def look(self) -> None:
        """It stays."""

    def why_down(self) -> str:
        return ""

    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        self.batches += 1
        if self.down:
            raise StoreError("timeout", "down")
        self.now_us += self.way_us
        return super().take(batch)


def cached(remote: Remote, *, max_age_us: int = HOUR_US * 24, max_buckets: int = 100) -> DenialCache:
    return DenialCache(remote, max_age_us=max_age_us, max_buckets=max_buckets, clock=lambda: remote.now_us)


def wish(key: str = "a", cost: int = 1, spec: Spec = SIX_HOURS, mode: int = ENFORCED) -> Take:
    return key, spec, cost, mode


def empty(cache: DenialCache, *keys: str) -> None:
    for key in keys:
        cache.take([[wish(key, 6)]])
        cache.take([[wish(key)]])


def test_a_bucket_known_empty_is_refused_without_asking_until_it_has_enough() -> None:
    remote = Remote()
    cache = cached(remote)
    empty(cache, "a")
    asked = remote.batches
    answers = [cache.take([[wish()]])[0][0] for _ in range(100)]
    assert remote.batches == asked
    assert cache.refused.value() == 100
    assert answers == [(False, 0, HOUR_US)] * 100
    remote.now_us += HOUR_US // 2
    assert remote.batches == asked
    (allowed, remaining, reset_us) = cache.take([[wish()]])[0][0]
    assert (allowed, remaining) == (False, 0)
    # Its clock may run a thousandth faster than the server's.
    assert HOUR_US // 2 - HOUR_US // 1000 <= (reset_us or 0) <= HOUR_US // 2
    remote.now_us += HOUR_US // 2
    assert cache.take([[wish()]])[0][0][:2] == (True, 0)
    assert remote.batches == asked + 1


def test_a_higher_cost_is_refused_and_a_lower_one_that_fits_is_asked() -> None:
    remote = Remote()
    cache = cached(remote)
    cache.take([[wish(cost=4)]])
    cache.take([[wish(cost=3)]])
    asked = remote.batches
    assert cache.take([[wish(cost=5)]])[0][0] == (False, 2, 3 * HOUR_US)
    assert cache.take([[wish(cost=7)]])[0][0] == (False, 2, None)
    assert remote.batches == asked
    assert cache.take([[wish(cost=2)]])[0][0][:2] == (True, 0)
    assert remote.batches == asked + 1


def test_hits_given_back_and_a_new_configuration_are_seen_at_once() -> None:
    remote = Remote()
    cache = cached(remote)
    empty(cache, "a")
    assert cache.take([[wish()], [wish(cost=-1)], [wish()], [wish()]]) == [
        [(False, 0, HOUR_US)],
        [(True, 1, 5 * HOUR_US)],
        [(True, 0, 6 * HOUR_US)],
        [(False, 0, HOUR_US)],
    ]
    cache.forget()
    assert len(cache) == 0
    asked = remote.batches
    cache.take([[wish()]])
    assert remote.batches == asked + 1


def test_hits_given_back_are_not_forgotten_when_the_store_fails() -> None:
    remote = Remote()
    cache = cached(remote)
    empty(cache, "a")
    remote.down = True
    with pytest.raises(StoreError):
        cache.take([[wish(cost=-1)]])
    with pytest.raises(StoreError):
        cache.take([[wish()]])


def test_a_refusal_is_believed_for_its_time_only() -> None:
    remote = Remote()
    cache = cached(remote, max_age_us=MICROSECONDS)
    empty(cache, "a")
    asked = remote.batches
    remote.now_us += MICROSECONDS
    cache.take([[wish()]])
    assert remote.batches == asked
    remote.now_us += 1
    cache.take([[wish()]])
    assert remote.batches == asked + 1


def test_a_request_is_refused_here_only_if_all_that_it_asks_for_is_known() -> None:
    remote = Remote()
    cache = cached(remote)
    empty(cache, "a")
    asked = remote.batches
    both = [[wish("a"), wish("b")]]
    first = cache.take(both)
    assert remote.batches == asked + 1
    assert cache.take(both) == first == [[(False, 0, HOUR_US), (True, 6, 0)]]
    assert remote.batches == asked + 1
    cache.take([[wish("b", 2)]])
    assert cache.take(both)[0][1][:2] == (True, 4)
    assert remote.batches == asked + 3


@pytest.mark.parametrize(
    "takes",
    [
        [wish("a", mode=0)],
        [wish("a", mode=ENFORCED | KEPT)],
        [wish("a"), wish("a", 2)],
        [wish("a"), wish("b", -1)],
    ],
    ids=["shadow", "kept", "one bucket twice", "gives back"],
)
def test_what_must_be_charged_or_is_not_certain_is_asked(takes: list[Take]) -> None:
    remote = Remote()
    cache = cached(remote)
    empty(cache, "a", "b")
    asked = remote.batches
    cache.take([takes])
    assert remote.batches == asked + 1


def test_debt_is_never_swallowed() -> None:
    remote = Remote()
    cache = cached(remote)
    spec = BucketSpec.of(6, 6 * HOUR_US, debt=True)
    for _ in range(5):
        cache.take([[wish(cost=3, spec=spec, mode=ENFORCED | KEPT)]])
    assert remote.batches == 5


def test_it_is_bounded() -> None:
    remote = Remote()
    cache = cached(remote, max_buckets=10)
    for number in range(100):
        empty(cache, str(number))
        assert len(cache) <= 10
    asked = remote.batches
    cache.take([[wish("99")], [wish("90")]])
    assert remote.batches == asked
    cache.take([[wish("0")]])
    assert remote.batches == asked + 1


def test_it_saves_nearly_all_round_trips_of_a_caller_that_is_over() -> None:
    remote = Remote()
    cache = cached(remote, max_age_us=MICROSECONDS)
    empty(cache, "a")
    asked = remote.batches
    for _ in range(10_000):  # a thousand a second, for ten seconds
        remote.now_us += 1000
        cache.take([[wish()]])
    assert remote.batches - asked <= 11


STEP = st.tuples(
    st.lists(
        st.tuples(st.integers(0, len(SPECS) - 1), st.sampled_from([1, 1, 1, 2, 3, 9, 0, -1])),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 700_000),
    st.integers(0, 20_000),
)


@given(steps=st.lists(STEP, max_size=60), max_buckets=st.integers(1, 6))
def test_it_never_refuses_what_the_store_would_allow(
    steps: list[tuple[list[tuple[int, int]], int, int]], max_buckets: int
) -> None:
    """Beside it runs the store alone: asked when the cache asks, or at the moment when the cache does not."""
    remote, alone = Remote(), Remote()
    cache = cached(remote, max_buckets=max_buckets)
    for wishes, pause_us, way_us in steps:
        remote.now_us += pause_us
        remote.way_us = way_us
        takes = [(str(which), SPECS[which], cost, MODES[which]) for which, cost in wishes]
        asked = remote.batches
        (answer,) = cache.take([takes])
        alone.now_us = remote.now_us
        (expected,) = alone.take([takes])
        if remote.batches > asked:
            assert answer == expected
            continue
        assert refuses(takes, answer)
        assert refuses(takes, expected)
        for (_, spec, _, _), (allowed, remaining, reset_us), (would, has, its_reset_us) in zip(
            takes, answer, expected, strict=True
        ):
            assert allowed == would
            assert (reset_us is None) == (its_reset_us is None)
            if isinstance(spec, BucketSpec) and reset_us is not None and its_reset_us is not None:
                # As old as the way was long, and a thousandth of the time since.
                assert abs(reset_us - its_reset_us) <= 20_000 + MICROSECONDS // 50
                assert has <= remaining <= has + 1


def refuses(takes: Sequence[Take], outcomes: Sequence[Outcome]) -> bool:
    quotas = [allowed for (*_, mode), (allowed, *_) in zip(takes, outcomes, strict=True) if mode & QUOTA]
    enforced = [allowed for (*_, mode), (allowed, *_) in zip(takes, outcomes, strict=True) if mode & ENFORCED]
    return not all(enforced) or (bool(quotas) and not any(quotas))
