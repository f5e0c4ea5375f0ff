"""The sketch of the heaviest keys: bounded, never too low, and right about what is heavy."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.observe.sketch import SpaceSaving


def test_few_keys_are_counted_exactly() -> None:
    sketch: SpaceSaving[str] = SpaceSaving(3)
    for key in "abacab":
        sketch.add(key)
    sketch.add("c", 5)
    assert sketch.heaviest(2) == [("c", 6, 0), ("a", 3, 0)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=300), st.integers(1, 12))
def test_the_bounds_hold_for_any_stream(stream: list[tuple[int, int]], capacity: int) -> None:
    sketch: SpaceSaving[int] = SpaceSaving(capacity)
    truth: Counter[int] = Counter()
    for key, weight in stream:
        sketch.add(key, weight)
        truth[key] += weight
    found = {heavy.key: heavy for heavy in sketch.heaviest(capacity)}
    assert len(sketch) == len(found) == min(capacity, len(truth))
    assert sketch.total == sum(truth.values())
    for key, heavy in found.items():
        assert heavy.weight - heavy.error <= truth[key] <= heavy.weight
    for key, weight in truth.items():
        if weight * capacity > sketch.total:
            assert key in found


def test_a_flood_of_fresh_keys_does_not_grow_it_nor_hide_the_heavy() -> None:
    sketch: SpaceSaving[str] = SpaceSaving(50)
    for number in range(20_000):
        sketch.add(f"fresh {number}")
        if number % 10 == 0:
            sketch.add("heavy")
    assert len(sketch) == 50
    assert sketch.heaviest(1)[0].key == "heavy"


@given(st.lists(st.integers(0, 30), max_size=200))
def test_it_fades_and_goes_on(stream: list[int]) -> None:
    sketch: SpaceSaving[int] = SpaceSaving(8)
    for key in stream:
        sketch.add(key)
    before = {heavy.key: heavy.weight for heavy in sketch.heaviest(8)}
    sketch.halve()
    after = {heavy.key: heavy.weight for heavy in sketch.heaviest(8)}
    assert after == {key: weight // 2 for key, weight in before.items() if weight > 1}
    for key in range(100, 130):
        sketch.add(key)
    assert len(sketch) == 8


def test_an_empty_sketch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SpaceSaving(0)
