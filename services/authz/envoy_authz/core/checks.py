"""Tests on the facts of a request, and how they are joined."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from envoy_authz.core.facts import Facts
from envoy_authz.core.patterns import Test

Check = Callable[[Facts], bool]


class Named(NamedTuple):
    """A test, and the key of an index that makes it needless, or an empty string."""

    key: str
    check: Check


def on(attribute: str, test: Test) -> Check:
    """Return *test* applied to an attribute of the facts."""
    if attribute == "path":
        return lambda facts: test(facts.path)
    if attribute == "method":
        return lambda facts: test(facts.method)
    if attribute == "caller":
        return lambda facts: test(facts.caller)
    get = attrgetter(attribute)
    return lambda facts: test(get(facts))


def negated(check: Check) -> Check:
    """Return the opposite of *check*."""
    return lambda facts: not check(facts)


def all_of(checks: Sequence[Check]) -> Check | None:
    """Return a test that holds when all of *checks* do; None if there are none."""
    if not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    first, second, *rest = checks
    if not rest:
        return lambda facts: first(facts) and second(facts)
    if len(rest) == 1:
        third = rest[0]
        return lambda facts: first(facts) and second(facts) and third(facts)
    return lambda facts: first(facts) and second(facts) and all(check(facts) for check in rest)


def any_check(alternatives: Sequence[Check | None]) -> Check | None:
    """Return a test that holds when any of *alternatives* does; one that is None always holds, as do none at all."""
    checks = [check for check in alternatives if check is not None]
    if len(checks) < len(alternatives) or not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    return lambda facts: any(check(facts) for check in checks)
