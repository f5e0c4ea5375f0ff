"""Changes to a request that lead out of every rule that stands in the way, however many they have to be."""

from collections import deque
from collections.abc import Iterator, Mapping

from envoy_authz.commands.dimensions import Value
from envoy_authz.commands.space import Space
from envoy_authz.core.policy import Action

_WORK = 400_000
"""Rules that are looked at in all: a second or two, also where there are thousands."""

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
    waiting = deque((goal, changes) for goal in goals for changes in _entering(space, at, current, goal))
    seen: set[frozenset[tuple[str, type, Value]]] = set()
    for _ in range(_WORK // (len(walls) + 1)):
        if not waiting:
            return
        goal, changes = waiting.popleft()
        changed = {**current, **changes}
        inside = next((box for box in walls if _is_in(box.masks, at, changed)), None)
        if inside is None:
            yield changes
            continue
        for name, taken in inside.masks.items():
            for value in space.kinds(name, goal.get(name, -1) & ~taken, walls, every=False):
                further = {**changes, name: value}
                key = frozenset((name, type(one), one) for name, one in further.items())
                if key not in seen:
                    seen.add(key)
                    waiting.append((goal, further))


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
