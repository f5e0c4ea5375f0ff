"""`when` turned into tests: each condition by its key, careful in the direction of its policy.

*careful* is what a test must be that lets requests pass: what can't be known does not match. For a DENY or AUDIT
policy it is the other way around: what can't be known, matches.
"""

from collections.abc import Callable

from envoy_authz.core.addresses import in_blocks, parse_address
from envoy_authz.core.attributes import Attribute, Compared, Getter, parse_key
from envoy_authz.core.bodies import Unreadable
from envoy_authz.core.facts import Facts
from envoy_authz.core.patterns import SPIFFE_SCHEME, Kind, Test, any_of, parse_pattern, parse_principal
from envoy_authz.core.policy import Condition, Patterns

Check = Callable[[Facts], bool]


def compile_condition(condition: Condition, *, careful: bool) -> Check:
    """Return the test of *condition*; raises ValueError for a key or a value that can't be read."""
    attribute = parse_key(condition.key)
    if attribute.compared is Compared.HEADER:
        return _header(condition, attribute.values, careful=careful)
    wanted = value_test(attribute, condition.values) if condition.values else None
    unwanted = value_test(attribute, condition.not_values) if condition.not_values else None
    get = attribute.values

    def check(facts: Facts) -> bool:
        values = get(facts)
        if isinstance(values, Unreadable):
            return not careful
        if wanted is not None and not any(map(wanted, values)):
            return False
        return unwanted is None or not any(map(unwanted, values))

    return check


def value_test(attribute: Attribute, texts: Patterns) -> Test:
    """Return a test whether one value of *attribute* matches any of *texts*; raises ValueError for a bad one."""
    if attribute.compared is Compared.ADDRESS:
        matches = in_blocks(texts)
        return lambda value: matches(parse_address(value))
    if attribute.compared is Compared.PORT:
        if not all(text.isascii() and text.isdigit() for text in texts):
            raise ValueError(f"{', '.join(texts)}: a port is a number")
        return frozenset(texts).__contains__
    if attribute.compared is Compared.PRINCIPAL:
        return any_of(map(parse_principal, texts), SPIFFE_SCHEME)
    return any_of(map(parse_pattern, texts))


def _header(condition: Condition, get: Getter, *, careful: bool) -> Check:
    """Return the test of a header, whose repeated lines arrive joined by commas.

    A line that a client adds to one that a proxy set can't open a policy, nor hide the proxy's: what must match must
    do so as a whole or in each part, what must not, in none.
    """
    wanted = _alternatives(condition.values)
    unwanted = _alternatives(condition.not_values)

    def check(facts: Facts) -> bool:
        values = get(facts)
        whole = values[0] if values and not isinstance(values, Unreadable) else None
        if whole is None:
            return wanted is None
        parts = [part.strip() for part in whole.split(",")] if "," in whole else ()
        if wanted is not None and not _matches(wanted, whole, parts, every=careful):
            return False
        return unwanted is None or not _matches(unwanted, whole, parts, every=not careful)

    return check


def _alternatives(texts: Patterns) -> Test | None:
    if not texts:
        return None
    patterns = [parse_pattern(text) for text in texts]
    # A header that is there and empty is present.
    if any(pattern.kind is Kind.PRESENT for pattern in patterns):
        return lambda _value: True
    return any_of(patterns)


def _matches(test: Test, whole: str, parts: list[str] | tuple[str, ...], *, every: bool) -> bool:
    if test(whole):
        return True
    if not parts:
        return False
    return all(map(test, parts)) if every else any(map(test, parts))
