"""Requests whose buckets live in several places: split, decided part by part, put together again. Pure."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, Take
from envoy_ratelimit.core.token_bucket import Outcome

P = TypeVar("P", bound=Hashable)
Outcomes = Sequence[Sequence[Outcome]]


@dataclass(slots=True)
class Part:
    """What one place decides: a batch of its own, and for each of its requests where that came from."""

    takes: list[list[Take]] = field(default_factory=list)
    origins: list[tuple[int, list[int]]] = field(default_factory=list)
    """The request's number in the whole batch, and the positions of these takes in it."""

    def add(self, takes: list[Take], number: int, positions: list[int]) -> None:
        """Append one request."""
        self.takes.append(takes)
        self.origins.append((number, positions))


class Split(Generic[P]):
    """A batch, split by *place_of* each take: `parts` holds what each place is to decide, in the batch's order.

    Each place decides all or nothing for its own takes. Where those of a request lie in several places, and one
    refuses, `give_back` says what the others have to return.
    """

    def __init__(self, batch: Sequence[Sequence[Take]], place_of: Callable[[Take], P]) -> None:
        self._batch = batch
        self._split: list[tuple[int, Sequence[P]]] = []
        self.parts: dict[P, Part] = {}
        for number, takes in enumerate(batch):
            groups: dict[P, list[int]] = {}
            for position, take in enumerate(takes):
                groups.setdefault(place_of(take), []).append(position)
            if len(groups) > 1:
                self._split.append((number, tuple(groups)))
            for place, positions in groups.items():
                # Whether all quotas of a request refuse, no place can tell alone: there they are as in shadow mode.
                chosen = [_alone(takes[at]) if len(groups) > 1 else takes[at] for at in positions]
                self.parts.setdefault(place, Part()).add(chosen, number, positions)

    def give_back(self, outcomes: Sequence[Sequence[Outcome]]) -> dict[P, Part]:
        """Return what must be given back after a first round that came to *outcomes*, as `merged` returns them."""
        parts: dict[P, Part] = {}
        for number, places in self._split:
            takes, decided = self._batch[number], outcomes[number]
            if not _refused(takes, decided):
                continue
            for place in places:
                positions = next(at for of, at in self.parts[place].origins if of == number)
                if any(takes[at][3] & ENFORCED and not decided[at][0] for at in positions):
                    continue  # that place has charged nothing itself
                charged = [
                    at for at in positions if decided[at][0] and takes[at][2] > 0 and not takes[at][3] & KEPT
                ]
                if charged:
                    back: list[Take] = [(takes[at][0], takes[at][1], -takes[at][2], 0) for at in charged]
                    parts.setdefault(place, Part()).add(back, number, charged)
        return parts

    def merged(self, decided: Mapping[P, Outcomes]) -> list[list[Outcome]]:
        """Return the outcomes of the whole batch. Raises KeyError for a place that did not decide."""
        results: list[list[Outcome]] = [[(False, 0, None)] * len(takes) for takes in self._batch]
        for place, part in self.parts.items():
            fill(results, part, decided[place])
        return results


def fill(results: list[list[Outcome]], part: Part, outcomes: Outcomes) -> None:
    """Put the *outcomes* of a part where they belong among the results of the whole batch."""
    for (number, positions), row in zip(part.origins, outcomes, strict=True):
        for position, outcome in zip(positions, row, strict=True):
            results[number][position] = outcome


def _alone(take: Take) -> Take:
    key, spec, cost, mode = take
    return (key, spec, cost, mode & ~QUOTA) if mode & QUOTA else take


def _refused(takes: Sequence[Take], outcomes: Sequence[Outcome]) -> bool:
    quotas = [outcome[0] for take, outcome in zip(takes, outcomes, strict=True) if take[3] & QUOTA]
    if quotas and not any(quotas):
        return True
    return any(take[3] & ENFORCED and not outcome[0] for take, outcome in zip(takes, outcomes, strict=True))
