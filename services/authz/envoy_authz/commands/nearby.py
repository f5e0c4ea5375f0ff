"""Which boxes meet a given one, found by the values that they take: of thousands of rules, few are near to each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

_WIDE = 256
"""How many values a box may take of a dimension and still be listed under each of them."""


class Masked(Protocol):
    """Something that takes some values of some dimensions, and all values of the others."""

    @property
    def masks(self) -> Mapping[str, int]:
        """For each dimension the values that it takes, as bits in their order."""


Box = TypeVar("Box", bound=Masked)


class Nearby(Generic[Box]):
    """*boxes*, to be asked for those near to another; what that costs grows with those that share a value with it."""

    __slots__ = ("_anywhere", "_at", "_boxes")

    def __init__(self, boxes: Sequence[Box]) -> None:
        self._boxes = boxes
        self._at: dict[str, dict[int, list[int]]] = {}
        for name in dict.fromkeys(name for box in boxes for name in box.masks):
            self._at[name] = {}
        # Those that may take any value, for what is listed is known.
        self._anywhere: dict[str, list[int]] = {name: [] for name in self._at}
        for number, box in enumerate(boxes):
            for name, at in self._at.items():
                mask = box.masks.get(name, -1)
                if mask < 0 or mask.bit_count() > _WIDE:
                    self._anywhere[name].append(number)
                    continue
                for place in places(mask):
                    at.setdefault(place, []).append(number)

    def to(self, box: Box) -> list[Box]:
        """Return the boxes, in their order and without *box* itself, of which some request is also in *box*."""
        some = (self._boxes[number] for number in self._sharing(box))
        return [other for other in some if other is not box and meet(other, box)]

    def _sharing(self, box: Box) -> Sequence[int]:
        """Return the numbers of the boxes that may meet *box*, by the dimension that leaves the fewest."""
        fewest, chosen = len(self._boxes), ""
        for name, mask in box.masks.items():
            if name not in self._at or mask.bit_count() > _WIDE:
                continue
            at = self._at[name]
            count = len(self._anywhere[name]) + sum(len(at.get(place, ())) for place in places(mask))
            if count < fewest:
                fewest, chosen = count, name
        if not chosen:
            return range(len(self._boxes))
        found = set(self._anywhere[chosen])
        for place in places(box.masks[chosen]):
            found.update(self._at[chosen].get(place, ()))
        return sorted(found)


def meet(one: Masked, other: Masked) -> bool:
    """Whether some request may be in both; *one* may take nothing at all."""
    theirs = other.masks
    return all(mask & theirs.get(name, -1) for name, mask in one.masks.items())


def told_apart(mask: int, by: Iterable[int]) -> list[int]:
    """Return one place of *mask*, the first, for each way in which the masks *by* have it or not."""
    ways: dict[int, list[int]] = {place: [] for place in places(mask)}
    most = len(ways) // 2
    for number, other in enumerate(by):
        some = mask & other
        # Who has it and who has not tells the same.
        for place in places(some if some.bit_count() <= most else some ^ mask):
            ways[place].append(number)
    first: dict[tuple[int, ...], int] = {}
    for place, way in ways.items():
        first.setdefault(tuple(way), place)
    return list(first.values())


def places(mask: int) -> Iterator[int]:
    """Yield the places of the bits of *mask* (not negative), from the lowest on."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
