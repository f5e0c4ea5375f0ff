"""The memory store is bounded: full buckets leave, and a flood of names cannot grow it."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.core.algorithms import Algorithm, Spec, make_spec
from envoy_ratelimit.core.rule import Rate, Unit, bucket_of
from envoy_ratelimit.core.store import Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS
from envoy_ratelimit.stores.memory import MemoryStore

PER_SECOND = bucket_of(Rate(10, Unit.SECOND))
PER_HOUR = bucket_of(Rate(10, Unit.HOUR))


class Clock:
    def __init__(self) -> None:
        self.now_us = MICROSECONDS

    def __call__(self) -> int:
        return self.now_us


def wish(key: str, spec: Spec = PER_SECOND, cost: int = 1) -> list[Take]:
    return [(key, spec, cost, True)]


every_algorithm = pytest.mark.parametrize("algorithm", Algorithm)


@every_algorithm
def test_a_bucket_that_is_as_new_leaves(algorithm: Algorithm) -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    spec = make_spec(algorithm, 10, MICROSECONDS)
    store.take([wish(str(number), spec) for number in range(1000)])
    assert len(store) == 1000
    for _ in range(10):
        clock.now_us += MICROSECONDS
        store.take([wish("still used")])
    assert len(store) == 1


@every_algorithm
def test_peeks_refusals_and_bans_leave_nothing_behind(algorithm: Algorithm) -> None:
    store = MemoryStore(clock=Clock())
    spec, ban = make_spec(algorithm, 10, MICROSECONDS), make_spec(algorithm, 0, MICROSECONDS)
    store.take([wish("peek", spec, 0), wish("too much", spec, 11), wish("ban", ban)])
    store.take([wish("gift", spec, -1)])
    assert len(store) == 0


def test_a_flood_of_names_stays_below_the_cap_and_spares_the_empty_buckets() -> None:
    store = MemoryStore(clock=Clock(), max_buckets=100)
    store.take([wish("spent", PER_HOUR, 10)])
    for number in range(20_000):
        store.take([wish(f"flood-{number}")])
        assert len(store) <= 100
    assert store.take([wish("spent", PER_HOUR)])[0][0][:2] == (False, 0)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 30), st.integers(-3, 10), st.integers(0, 2 * MICROSECONDS), st.booleans()),
        max_size=80,
    ),
    max_buckets=st.integers(1, 8),
    algorithm=st.sampled_from(Algorithm),
    debt=st.booleans(),
)
def test_no_order_of_takes_breaks_the_cap(
    steps: list[tuple[int, int, int, bool]], max_buckets: int, algorithm: Algorithm, debt: bool
) -> None:
    clock = Clock()
    per_second = make_spec(algorithm, 10, MICROSECONDS, debt=debt)
    store = MemoryStore(clock=clock, max_buckets=max_buckets)
    for name, cost, pause_us, slow in steps:
        clock.now_us += pause_us
        key = f"{name}{'slow' if slow else ''}"
        store.take([wish(key, PER_HOUR if slow else per_second, cost)])
        assert len(store) <= max_buckets
        assert sum(len(keys) for keys in store._slots.values()) == len(store)
        assert sorted(store._order) == sorted(store._slots)


@every_algorithm
def test_a_bucket_takes_around_300_bytes(algorithm: Algorithm) -> None:
    spec = make_spec(algorithm, 10, MICROSECONDS)
    keys = [f"rl1|4:edge|5/MINUTE|?4:user|11:user-{number:06}" for number in range(20_000)]
    store = MemoryStore(clock=Clock())
    tracemalloc.start()
    try:
        for key in keys:
            store.take([wish(key + "", spec)])
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store) == len(keys)
    names = sum(len(key) + 49 for key in keys)
    assert (used + names) / len(keys) < 350


def test_closing_forgets_all_buckets() -> None:
    store = MemoryStore(clock=Clock())
    store.take([wish("a", cost=10)])
    store.close()
    assert len(store) == 0
    assert store.take([wish("a", cost=10)])[0][0][0]


def test_a_store_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        MemoryStore(max_buckets=0)


def test_the_default_clock_never_goes_back() -> None:
    store = MemoryStore()
    assert store.take([wish("a", PER_HOUR, 10)])[0][0][0]
    assert not store.take([wish("a", PER_HOUR)])[0][0][0]
