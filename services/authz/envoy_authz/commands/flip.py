"""The smallest change to a request that turns its decision around: searched among what policies tell apart, and decided."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain, combinations, islice, product

from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.asked import Asked
from envoy_authz.commands.detour import detours
from envoy_authz.commands.dimensions import Value
from envoy_authz.commands.judge import Verdict, verdict_of
from envoy_authz.commands.space import Box, Point, Space
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.policy import Action

MOST = 20_000
_SHARE = 500
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """One change: the dimension, what stood there, and what is put there; None is nothing."""

    name: str
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Flip:
    """Changes that turn the decision around together, the request with them, and its decision."""

    turns: tuple[Turn, ...]
    asked: Asked
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Search:
    """The smallest flips found, the closest first, of so many requests that were decided."""

    flips: tuple[Flip, ...]
    requests: int


def decide(policies: PolicySet, asked: Asked) -> Verdict:
    """Return the decision on *asked*; a refused token is a denial."""
    refusal = asked.authentication.refusal
    if refusal is not None:
        return Verdict(False, "unauthenticated", refusal.message, status=401)
    return verdict_of(policies.evaluate(asked.request, asked.authentication))


def smallest_flips(
    policies: PolicySet, asked: Asked, issuers: Mapping[str, Sequence[str]] | None = None
) -> Search:
    """Return the smallest changes to *asked* that turn its decision around; new tokens are of *issuers*."""
    normal = dim.put(asked, dim.PATH, policies.facts(asked.request).path)
    space = Space([policies], around=[asked, normal], issuers=issuers or {})
    allowed = decide(policies, asked).allowed
    current = {name: dim.get(asked, name, hops=space.hops) for name in space.values}
    requests = 0
    best: list[Flip] = []
    for changes in chain(
        islice(_candidates(space, current, allowed=allowed), MOST), _last(space, current, allowed=allowed)
    ):
        if best and len(changes) > len(best[0].turns):
            break
        changed = _changed(space, asked, changes)
        requests += 1
        verdict = decide(policies, changed)
        if verdict.allowed != allowed:
            turns = tuple(Turn(name, current[name], value) for name, value in changes.items())
            best.append(Flip(turns, changed, verdict))
    best.sort(key=_distance)
    return Search(tuple(_different(best)), requests)


def _changed(space: Space, asked: Asked, changes: Point) -> Asked:
    refused = asked.authentication.refusal is not None
    if refused and any(name == dim.TOKEN or name.startswith(dim.CLAIM) for name in changes):
        # Another token takes the place of the one that was refused.
        asked = Asked(asked.request, Authentication())
    return space.request(changes, asked)


def _candidates(space: Space, current: Mapping[str, Value], *, allowed: bool) -> Iterator[dict[str, Value]]:
    """Yield sets of changes, the smallest first: each one alone, what rules still lack, and then pairs."""
    yield from _of(space, current, 1)
    lacking = sorted(_lacking(space, current, allowed=allowed), key=len)
    for needs in lacking:
        if len(needs) == 2:  # noqa: PLR2004 - the pairs come below, and are all there is of that size
            yield from _filled(needs)
    yield from _of(space, current, 2)
    for needs in lacking:
        if len(needs) > 2:  # noqa: PLR2004 - see above
            yield from _filled(needs)
    # What a rule lacks, and one thing more: what gets around a DENY.
    for needs in lacking:
        if len(needs) > 1:
            for name, values in space.values.items():
                if name not in needs:
                    yield from _filled({**needs, name: [one for one in values if one != current[name]]})


def _last(space: Space, current: Mapping[str, Value], *, allowed: bool) -> Iterator[dict[str, Value]]:
    """Yield what takes any number of changes, the smallest first; looked for only if it is asked for."""
    yield from sorted(detours(space, current, allowed=allowed), key=len)


def _of(space: Space, current: Mapping[str, Value], size: int) -> Iterator[dict[str, Value]]:
    others = {
        name: [one for one in some if not _same(one, current[name])] for name, some in space.values.items()
    }
    for names in combinations(others, size):
        yield from _filled({name: others[name] for name in names}, most=MOST)


def _same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and one == other


def _lacking(
    space: Space, current: Mapping[str, Value], *, allowed: bool
) -> Iterator[dict[str, list[Value]]]:
    """Yield for each rule that would turn the decision around what it asks for and the request lacks."""
    wanted = Action.DENY if allowed else Action.ALLOW
    for box in space.boxes[0]:
        if box.clause.policy.action is wanted and all(box.masks.values()):
            yield {
                name: list(space.taken(name, mask))
                for name, mask in box.masks.items()
                if not _takes(space, box, name, current[name])
            }


def _takes(space: Space, box: Box, name: str, value: Value) -> bool:
    return any(_same(value, one) for one in space.taken(name, box.masks[name]))


def _filled(needs: Mapping[str, list[Value]], most: int = _SHARE) -> Iterator[dict[str, Value]]:
    for values in islice(product(*needs.values()), most):
        yield dict(zip(needs, values, strict=True))


def _distance(flip: Flip) -> float:
    """Return how far a flip is from the request: a value that is nearly the same is closer than another."""
    return sum(
        1
        - SequenceMatcher(None, str(turn.before or ""), str(turn.after or "")).ratio()
        + (turn.after is None) * 0.5
        for turn in flip.turns
    )


def _different(flips: list[Flip]) -> Iterator[Flip]:
    """Yield the closest flip for each set of dimensions."""
    seen: set[tuple[str, ...]] = set()
    for flip in flips:
        names = tuple(turn.name for turn in flip.turns)
        if names not in seen and len(seen) < _SHOWN:
            seen.add(names)
            yield flip
