"""The matching tree of one domain: which rule a descriptor's entries lead to."""

from dataclasses import dataclass, field

from envoy_ratelimit.core.rule import Entries, Entry, Rule

Glob = tuple[str, ...]
"""A pattern cut at its `*`: `a*b` is ("a", "b")."""


@dataclass(slots=True)
class Level:
    """One level of the tree: its children by exact (key, value), by key and pattern in file order, and by bare key."""

    rule: Rule | None = None
    exact: dict[Entry, "Level"] = field(default_factory=dict)
    wildcards: dict[str, list[tuple[Glob, "Level"]]] = field(default_factory=dict)
    bare: dict[str, "Level"] = field(default_factory=dict)


def match(root: Level, entries: Entries) -> Rule | None:
    """Walk down one level for each entry; return the rule at the last one, if there is one.

    On each level an exact key and value goes before the patterns in file order, and these before the bare key. What
    was chosen stays chosen (no backtracking), and a rule on the way is not inherited.
    """
    level = root
    for entry in entries:
        below = level.exact.get(entry)
        if below is None:
            if level.wildcards:
                below = _by_pattern(level, entry)
            if below is None:
                below = level.bare.get(entry[0])
                if below is None:
                    return None
        level = below
    return level.rule


def _by_pattern(level: Level, entry: Entry) -> Level | None:
    key, value = entry
    for glob, below in level.wildcards.get(key, ()):
        if fits(glob, value):
            return below
    return None


def fits(glob: Glob, value: str) -> bool:
    """Tell whether *value* fits: each `*` stands for zero or more characters. Linear in the length of *value*.

    Taking the leftmost place for each part between two `*` is enough: it leaves the most for what follows.
    """
    head, tail = glob[0], glob[-1]
    end = len(value) - len(tail)
    position = len(head)
    if position > end or not value.startswith(head) or not value.endswith(tail):
        return False
    for part in glob[1:-1]:
        found = value.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
