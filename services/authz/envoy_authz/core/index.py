"""Clauses behind dictionaries, so that a decision meets only those that its path, method or caller can match.

A decision costs one look-up for the exact path, one for each distinct length of the prefixes and of the suffixes, and
one for the caller; how many policies there are does not enter, except for those that can match any path.
"""

from collections.abc import Callable, Iterable, Sequence

from envoy_authz.core.compile import Clause
from envoy_authz.core.decision import Decision
from envoy_authz.core.patterns import Kind, Test

Check = Callable[[str, str, str], bool]
"""A test of (method, normalized path, source principal)."""

Entries = tuple[tuple[Check | None, Decision], ...]
Leaf = tuple[dict[str, Entries], Entries]
"""The entries for each method that some clause names, and those for any other method."""

_PRESENT_PATH: Test = bool


class Index:
    """Finds a clause that matches a request.

    The exact path is tried first, then prefixes from short to long, suffixes, the caller, and what matches any path;
    among clauses found in the same place, the first one in the order of policies. Which one is found decides only
    which policy is named: all clauses of an index have the same action.
    """

    __slots__ = (
        "_any",
        "_exact",
        "_prefix_lengths",
        "_prefixes",
        "_principals",
        "_suffix_lengths",
        "_suffixes",
    )

    def __init__(self, clauses: Iterable[Clause]) -> None:
        by_path: dict[Kind, dict[str, list[Clause]]] = {kind: {} for kind in Kind}
        by_principal: dict[str, list[Clause]] = {}
        rest: list[Clause] = []
        for clause in clauses:
            if clause.path is not None and clause.path.kind is not Kind.PRESENT:
                by_path[clause.path.kind].setdefault(clause.path.text, []).append(clause)
            elif clause.callers is not None:
                for principal in clause.callers:
                    by_principal.setdefault(principal, []).append(clause)
            else:
                rest.append(clause)
        self._exact = _leaves(by_path[Kind.EXACT])
        self._prefixes = _leaves(by_path[Kind.PREFIX])
        self._prefix_lengths = sorted({len(text) for text in self._prefixes})
        self._suffixes = _leaves(by_path[Kind.SUFFIX])
        self._suffix_lengths = sorted({len(text) for text in self._suffixes})
        self._principals = _leaves(by_principal)
        self._any = _leaf(rest)

    def find(self, method: str, path: str, principal: str) -> Decision | None:
        """Return the decision of a clause that matches, or None; *path* is normalized."""
        leaf = self._exact.get(path)
        if leaf is not None and (found := _first(leaf, method, path, principal)) is not None:
            return found
        for length in self._prefix_lengths:
            if length > len(path):
                break
            leaf = self._prefixes.get(path[:length])
            if leaf is not None and (found := _first(leaf, method, path, principal)) is not None:
                return found
        for length in self._suffix_lengths:
            leaf = self._suffixes.get(path[-length:])
            if leaf is not None and (found := _first(leaf, method, path, principal)) is not None:
                return found
        leaf = self._principals.get(principal)
        if leaf is not None and (found := _first(leaf, method, path, principal)) is not None:
            return found
        return _first(self._any, method, path, principal)


def _first(leaf: Leaf, method: str, path: str, principal: str) -> Decision | None:
    by_method, others = leaf
    for check, decision in by_method.get(method, others):
        if check is None or check(method, path, principal):
            return decision
    return None


def _leaves(grouped: dict[str, list[Clause]]) -> dict[str, Leaf]:
    return {key: _leaf(clauses) for key, clauses in grouped.items()}


def _leaf(clauses: Sequence[Clause]) -> Leaf:
    named = {method for clause in clauses for method in clause.methods or ()}
    by_method = {
        method: tuple(
            (_check(clause, None), clause.decision)
            for clause in clauses
            if clause.method_test is None or clause.method_test(method)
        )
        for method in named
    }
    others = tuple(
        (_check(clause, clause.method_test), clause.decision) for clause in clauses if clause.methods is None
    )
    return by_method, others


def _check(clause: Clause, method_test: Test | None) -> Check | None:
    present = _PRESENT_PATH if clause.path is not None and clause.path.kind is Kind.PRESENT else None
    tests: list[Check] = []
    if method_test is not None:
        tests.append(_on_method(method_test))
    tests.extend(_on_path(test) for test in (present, clause.path_test) if test is not None)
    if clause.principal_test is not None:
        tests.append(_on_principal(clause.principal_test))
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda method, path, principal: all(test(method, path, principal) for test in tests)


def _on_method(test: Test) -> Check:
    return lambda method, _path, _principal: test(method)


def _on_path(test: Test) -> Check:
    return lambda _method, path, _principal: test(path)


def _on_principal(test: Test) -> Check:
    return lambda _method, _path, principal: test(principal)
