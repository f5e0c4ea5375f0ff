"""Boxes near to one, and values told apart: as a reader would find them who compares each with each."""

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_authz.commands.nearby import Nearby, meet, told_apart


@dataclass(frozen=True, eq=False)
class Taken:
    masks: Mapping[str, int]


WIDE = st.sampled_from([(1 << 600) - 1, ((1 << 600) - 1) ^ (1 << 7), 1 << 599 | 1])
MASKS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 7) | WIDE, max_size=3)


@given(st.lists(MASKS.map(Taken), max_size=8), MASKS.map(Taken))
@settings(deadline=None)
def test_near_are_those_that_some_request_is_also_in(boxes: list[Taken], other: Taken) -> None:
    nearby = Nearby(boxes)
    for one in (*boxes, other):
        assert nearby.to(one) == [box for box in boxes if box is not one and meet(box, one)]


@given(st.integers(0, 1 << 12), st.lists(st.integers(0, 1 << 12), max_size=4))
def test_of_places_that_all_masks_have_alike_the_first_is_kept(mask: int, by: list[int]) -> None:
    kept: dict[tuple[int, ...], int] = {}
    for place in range(13):
        if mask >> place & 1:
            kept.setdefault(tuple(other >> place & 1 for other in by), place)
    assert told_apart(mask, by) == list(kept.values())
