"""Changes to a request that lead out of every rule that stands in the way, however many they have to be."""

from collections import deque
from collections.abc import Iterator, Mapping

from envoy_authz.commands.dimensions import Value
from envoy_authz.commands.space import Space
from envoy_authz.core.policy import Action

_WORK = 400_000
"""Rules that are looked at in all."""
_STEPS = 500
"""Requests that are looked at for one ALLOW, so that there are some left for the others."""

_Masks = Mapping[str, int]
_Places = Mapping[str, Mapping[tuple[type, Value], int]]


def detours(space: Space, current: Mapping[str, Value], *, allowed: bool) -> Iterator[dict[str, Value]]:
    """Yield changes after which no DENY matches, but an ALLOW if there is any; if it is *allowed*, no ALLOW.

    What CEL compares, and what one test reads together, is not seen here: the decision has to be asked.
    """
    at = {name: {(type(one), one): n for n, one in enumerate(some)} for name, some in space.values.items()}
    wall = Action.ALLOW if allowed else Action.DENY
    walls = [box for box in space.boxes[0] if box.clause.policy.action is wall]
    goals: list[_Masks] = [{}]
    if not allowed:
        goals += [box.masks for box in space.boxes[0] if box.clause.policy.action is Action.ALLOW]
    begins = [(goal, changes) for goal in goals for changes in _entering(space, at, current, goal)]
    steps = _WORK // (len(walls) + 1)
    for goal, begin in sorted(begins, key=lambda one: len(one[1])):
        waiting, seen = deque([begin]), {_key(begin)}
        for _ in range(min(_STEPS, steps)):
            if not waiting:
                break
            steps -= 1
            changes = waiting.popleft()
            changed = {**current, **changes}
            inside = next((box for box in walls if _is_in(box.masks, at, changed)), None)
            if inside is None:
                yield changes
                continue
            for name, taken in inside.masks.items():
                for value in space.kinds(name, goal.get(name, -1) & ~taken, walls, every=False):
                    further = {**changes, name: value}
                    if (key := _key(further)) not in seen:
                        seen.add(key)
                        waiting.append(further)


def _key(changes: Mapping[str, Value]) -> frozenset[tuple[str, type, Value]]:
    """Return what tells *changes* from others: 1 is not True."""
    return frozenset((name, type(value), value) for name, value in changes.items())


def _entering(
    space: Space, at: _Places, current: Mapping[str, Value], goal: _Masks
) -> Iterator[dict[str, Value]]:
    """Yield the changes that *goal* asks for, with one value for each dimension; nothing if it takes none of one."""
    changes: dict[str, Value] = {}
    for name, mask in goal.items():
        if not _is_in({name: mask}, at, current):
            values = list(space.taken(name, mask))
            if not values:
                return
            changes[name] = values[0]
    yield changes


def _is_in(masks: _Masks, at: _Places, point: Mapping[str, Value]) -> bool:
    for name, mask in masks.items():
        place = at[name].get((type(point[name]), point[name]))
        if place is None or not mask >> place & 1:
            return False
    return True
