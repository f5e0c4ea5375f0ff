"""Requests worth trying: for each thing that policies compare, the values that they tell apart.

A rule is a union of boxes: for each dimension the values that it takes. Of the values written in policies, of those
beside them, and of none at all, it is found by the core's own tests which each box holds. Requests that lie in the
same boxes are decided in the same way, so one of each kind is enough. CEL, and tests on several dimensions at once,
bound no box: there the values are a good guess.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice, product
from math import prod

from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.asked import Asked
from envoy_authz.commands.boxes import Check, Clause, Test, clauses_of
from envoy_authz.commands.dimensions import Value
from envoy_authz.commands.harvest import harvest
from envoy_authz.commands.nearby import Nearby, places, told_apart
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.facts import Facts
from envoy_authz.core.request import Request

Point = Mapping[str, Value]
PLAIN = Asked(Request(method="GET", path="/"))
"""What a request is where nothing else is said."""


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """What one clause takes: for each of its dimensions the values, as bits in their order."""

    clause: Clause
    masks: Mapping[str, int]


@dataclass(slots=True)
class Space:
    """The values of all *policies*, and those of the requests *around*, and the boxes of each set.

    *issuers* are those that are trusted, each with the audiences of which its tokens must have one.
    """

    policies: Sequence[PolicySet]
    around: Sequence[Asked] = ()
    issuers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: Mapping[str, list[Value]] = field(init=False)
    boxes: list[list[Box]] = field(init=False)
    _masks: dict[tuple[Test, int], int] = field(init=False, default_factory=dict)
    _checks: dict[Test, Check] = field(init=False, default_factory=dict)
    _ordered: dict[str, list[tuple[str, int]]] = field(init=False, default_factory=dict)
    _facts: dict[tuple[str, int], list[Facts]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Find the values and the boxes."""
        clauses = [list(clauses_of(one)) for one in self.policies]
        self.values = harvest(self.policies, self.around, self.issuers)
        self.boxes = [[self.box(clause, place) for clause in some] for place, some in enumerate(clauses)]

    @property
    def hops(self) -> int:
        """How many proxies are trusted."""
        return self.policies[0].options.trusted_hops

    def request(self, point: Point, base: Asked = PLAIN) -> Asked:
        """Return *base* with the values of *point*; a token comes before its claims."""
        for name in sorted(point, key=lambda name: name != dim.TOKEN):
            base = dim.put(base, name, point[name], hops=self.hops)
        if dim.TOKEN in point and dim.AUDIENCE not in point and base.authentication.tokens:
            # Else a token of an issuer that asks for an audience would be refused before any policy.
            audiences = self.issuers.get(base.authentication.tokens[0].issuer)
            if audiences:
                base = dim.put(base, dim.AUDIENCE, audiences[0])
        return base

    def plan(self, box: Box, others: Nearby[Box], also: frozenset[str] = frozenset()) -> "Plan":
        """Return what to try in *box*, of which *others* tell the requests apart; of *also*, all values."""
        near = others.to(box)
        names = dict.fromkeys(
            name for one in (box, *near) for name in (*one.masks, *sorted(one.clause.loose))
        )
        free = {name for one in (box, *near) for name in one.clause.loose} | also
        names.update(dict.fromkeys(sorted(also)))
        choices = {
            name: self.kinds(name, box.masks.get(name, -1), near, every=name in free) for name in names
        }
        return Plan(self, box, near, choices)

    def kinds(self, name: str, mask: int, near: Sequence[Box], *, every: bool) -> list[Value]:
        """Return one value, of those that *mask* has, for each way in which boxes take it; with *every*, all."""
        if every:
            return list(self.taken(name, mask))
        masks = {other.masks[name] for other in near if name in other.masks}
        values = self.values[name]
        return [values[place] for place in told_apart(mask & (1 << len(values)) - 1, masks)]

    def taken(self, name: str, mask: int) -> Iterator[Value]:
        """Return the values of a dimension that *mask* has."""
        values = self.values[name]
        return (values[place] for place in places(mask & (1 << len(values)) - 1))

    def box(self, clause: Clause, place: int) -> Box:
        """Return the box of a clause of the set number *place*."""
        masks: dict[str, int] = {}
        for test in clause.tests:
            masks[test.dimension] = masks.get(test.dimension, -1) & self._mask(test, place)
        return Box(clause, masks)

    def compiled(self, test: Test) -> Check:
        """Return the core's own test, made once."""
        known = self._checks.get(test)
        if known is None:
            known = self._checks[test] = test.compiled()
        return known

    def _mask(self, test: Test, place: int) -> int:
        # Only what namespace a request is for may depend on the other policies of its set.
        key = test, place if test.dimension == dim.NAMESPACE else 0
        known = self._masks.get(key)
        if known is None:
            check = self.compiled(test)
            facts = self._facts_of(test.dimension, key[1])
            places = self._beginning(test.dimension, test.starts())
            known = self._masks[key] = sum(1 << number for number in places if check(facts[number]))
        return known

    def _beginning(self, name: str, starts: tuple[str, ...] | None) -> Iterable[int]:
        """Return the places of the values that begin with any of *starts*: with thousands, each rule fits but few."""
        if starts is None:
            return range(len(self.values[name]))
        ordered = self._ordered.get(name)
        if ordered is None:
            texts = (
                (value, place) for place, value in enumerate(self.values[name]) if isinstance(value, str)
            )
            ordered = self._ordered[name] = sorted(texts)
        found: set[int] = set()
        for start in starts:
            first = bisect_left(ordered, (start, -1))
            for text, place in islice(ordered, first, None):
                if not text.startswith(start):
                    break
                found.add(place)
        return found

    def _facts_of(self, name: str, place: int) -> list[Facts]:
        known = self._facts.get((name, place))
        if known is None:
            asked = [self.request({name: value}) for value in self.values[name]]
            policies = self.policies[place]
            known = [policies.facts(one.request, one.authentication) for one in asked]
            self._facts[name, place] = known
        return known


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests in one box: for each dimension the values that make a difference there."""

    space: Space
    box: Box
    near: Sequence[Box]
    choices: Mapping[str, Sequence[Value]]

    @property
    def size(self) -> int:
        """How many requests all combinations are."""
        return prod(map(len, self.choices.values()))

    def points(self, most: int) -> Iterator[Point]:
        """Yield all combinations; if they are more than *most*, a sample of so many."""
        if self.size <= most:
            for values in product(*self.choices.values()):
                yield dict(zip(self.choices, values, strict=True))
        elif self.size:
            yield from islice(self._sample(), most)

    def _sample(self) -> Iterator[Point]:
        """Yield a request in the box, and one in it and each box near, each with any one value changed; then pairs."""
        choices = self.choices
        first = {name: some[0] for name, some in choices.items()}
        bases = [first]
        for other in self.near:
            both = {
                name: mask & self.box.masks.get(name, -1)
                for name, mask in other.masks.items()
                if name in choices
            }
            bases.append(
                {**first, **{name: next(self.space.taken(name, mask)) for name, mask in both.items()}}
            )
        for base in bases:
            yield base
            for name, some in choices.items():
                yield from ({**base, name: value} for value in some)
        for one, other_name in combinations(choices, 2):
            for values in product(choices[one], choices[other_name]):
                yield {**first, one: values[0], other_name: values[1]}
