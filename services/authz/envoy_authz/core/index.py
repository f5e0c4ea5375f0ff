"""Clauses behind dictionaries, so that a decision meets only those that its path, method, host or caller can match.

A decision costs one look-up for the exact path, one for each distinct length of the prefixes and of the suffixes, and
below each a few more by method, host, caller and namespace; how many policies there are does not enter, except for
those that can match anything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter

from envoy_authz.core.checks import Check, all_of
from envoy_authz.core.compile import KEYS, Clause
from envoy_authz.core.decision import Decision
from envoy_authz.core.facts import Facts
from envoy_authz.core.patterns import Kind

Entries = tuple[tuple[Check | None, Decision], ...]

_FEW = 4


class Branch:
    """Clauses parted by one attribute of the request: a leaf for each value that some name, and `rest` for the others."""

    __slots__ = ("get", "rest", "table")

    def __init__(self, key: str, table: dict[str, "Node"], rest: "Node") -> None:
        self.get: Callable[[Facts], str] = attrgetter(key)
        self.table = table
        self.rest = rest


Node = Entries | Branch


class Index:
    """Finds clauses that match a request.

    The exact path is tried first, then prefixes from short to long, suffixes, and what matches any path. Which one is
    found first decides only which policy is named: all clauses of an index have the same action.
    """

    __slots__ = ("_any", "_exact", "_prefix_lengths", "_prefixes", "_suffix_lengths", "_suffixes")

    def __init__(self, clauses: Iterable[Clause]) -> None:
        by_path: dict[Kind, dict[str, list[Clause]]] = {kind: {} for kind in Kind}
        rest: list[Clause] = []
        for clause in clauses:
            if clause.path is None:
                rest.append(clause)
            else:
                by_path[clause.path.kind].setdefault(clause.path.text, []).append(clause)
        self._exact = _nodes(by_path[Kind.EXACT])
        self._prefixes = _nodes(by_path[Kind.PREFIX])
        self._prefix_lengths = sorted({len(text) for text in self._prefixes})
        self._suffixes = _nodes(by_path[Kind.SUFFIX])
        self._suffix_lengths = sorted({len(text) for text in self._suffixes})
        self._any = _node(rest, KEYS)

    def find(self, facts: Facts) -> Decision | None:
        """Return the decision of a clause that matches, or None."""
        # Twice as fast as by `_nodes_for`, and met several times by each request.
        path = facts.path
        size = len(path)
        node = self._exact.get(path)
        found = None if node is None else _first(node, facts)
        if found is not None:
            return found
        for length in self._prefix_lengths:
            if length > size:
                break
            node = self._prefixes.get(path[:length])
            if node is not None:
                found = _first(node, facts)
                if found is not None:
                    return found
        for length in self._suffix_lengths:
            if length > size:
                break
            node = self._suffixes.get(path[-length:] if length else "")
            if node is not None:
                found = _first(node, facts)
                if found is not None:
                    return found
        return _first(self._any, facts)

    def find_all(self, facts: Facts) -> list[Decision]:
        """Return the decisions of all clauses that match, each once."""
        found: dict[Decision, None] = {}
        for node in self._nodes_for(facts.path):
            found.update(dict.fromkeys(_all(node, facts)))
        return list(found)

    def _nodes_for(self, path: str) -> Iterator[Node]:
        node = self._exact.get(path)
        if node is not None:
            yield node
        size = len(path)
        for length in self._prefix_lengths:
            if length > size:
                break
            node = self._prefixes.get(path[:length])
            if node is not None:
                yield node
        for length in self._suffix_lengths:
            if length > size:
                break
            node = self._suffixes.get(path[-length:] if length else "")
            if node is not None:
                yield node
        yield self._any


def _first(node: Node, facts: Facts) -> Decision | None:
    while isinstance(node, Branch):
        below = node.table.get(node.get(facts))
        if below is not None:
            found = _first(below, facts)
            if found is not None:
                return found
        node = node.rest
    for check, decision in node:
        if check is None or check(facts):
            return decision
    return None


def _all(node: Node, facts: Facts) -> Iterator[Decision]:
    if isinstance(node, Branch):
        below = node.table.get(node.get(facts))
        if below is not None:
            yield from _all(below, facts)
        yield from _all(node.rest, facts)
        return
    for check, decision in node:
        if check is None or check(facts):
            yield decision


def _nodes(grouped: dict[str, list[Clause]]) -> dict[str, Node]:
    return {text: _node(clauses, KEYS) for text, clauses in grouped.items()}


def _node(clauses: Sequence[Clause], keys: Sequence[str], given: frozenset[str] = frozenset()) -> Node:
    """Return *clauses* parted by those of *keys* that part them best; the keys *given* were found on the way here."""
    best = max(keys, key=lambda key: _distinct(clauses, key), default=None) if len(clauses) > _FEW else None
    if best is None or _distinct(clauses, best) < 2:  # noqa: PLR2004 - one value parts nothing
        return tuple(
            (all_of([test.check for test in clause.tests if test.key not in given]), clause.decision)
            for clause in clauses
        )
    others = [key for key in keys if key != best]
    parted: dict[str, list[Clause]] = {}
    rest: list[Clause] = []
    for clause in clauses:
        if best not in clause.keys:
            rest.append(clause)
            continue
        for value in clause.keys[best]:
            parted.setdefault(value, []).append(clause)
    table = {value: _node(some, others, given | {best}) for value, some in parted.items()}
    return Branch(best, table, _node(rest, others, given))


def _distinct(clauses: Sequence[Clause], key: str) -> int:
    return len({value for clause in clauses for value in clause.keys.get(key, ())})
