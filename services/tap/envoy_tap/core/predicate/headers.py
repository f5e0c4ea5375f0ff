"""What a predicate says about request headers alone, in tests that Envoy makes itself, before any script runs.

Each test is of one header as it stands in the request (`:path` with its query), so a condition is often only bounded by
them: what is compiled is true wherever the predicate may be, never false where it could be true.
"""

from dataclasses import dataclass
from enum import Enum, auto

from envoy_tap.core.predicate.fields import header_name
from envoy_tap.core.predicate.model import And, Condition, Expr, Not, Op, Or
from envoy_tap.core.predicate.values import any_case, template


class How(Enum):
    """How a header's value (several are joined by commas) compares with a text."""

    EXACT = auto()
    PREFIX = auto()
    CONTAINS = auto()
    REGEX = auto()  # RE2 over all of it
    PRESENT = auto()


@dataclass(frozen=True, slots=True)
class HeaderTest:
    """One test; a request without the header fails it."""

    name: str
    how: How
    text: str = ""
    ignores_case: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """True where all of *terms* are; without terms, everywhere."""

    terms: tuple["Tests", ...] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """True where one of *terms* is; without terms, nowhere."""

    terms: tuple["Tests", ...] = ()


@dataclass(frozen=True, slots=True)
class NoneOf:
    """True where *term* is not."""

    term: "Tests"


Tests = HeaderTest | AllOf | AnyOf | NoneOf

ANYTHING = AllOf()
NOTHING = AnyOf()
_HOW = {Op.EQUALS: How.EXACT, Op.BEGINS: How.PREFIX, Op.CONTAINS: How.CONTAINS, Op.MATCHES: How.REGEX}
# In messages: protobuf's parsers give up at 100, and some of those are around these.
_MAX_DEPTH = 64
_SHORT_ID = "0" * 16
_TRACE_HEADERS = ("traceparent", "x-b3-traceid", "b3")


def superset(*predicates: Expr, by_regex: bool = True) -> Tests:
    """Return tests that hold for each request that may fulfil one of *predicates*; ANYTHING if they decide nothing.

    Without *by_regex* none of them is a regex, for where Envoy can't be trusted with one.
    """
    tests = _any([_bound(each, upper=True, by_regex=by_regex) for each in predicates])
    return tests if _depth(tests) <= _MAX_DEPTH else ANYTHING


def _depth(tests: Tests) -> int:
    match tests:
        case NoneOf(term):
            return 1 + _depth(term)
        case AllOf(terms) | AnyOf(terms):
            return 2 + max(map(_depth, terms), default=0)
        case HeaderTest():
            return 1


def _bound(expr: Expr, *, upper: bool, by_regex: bool) -> Tests:
    """Return tests that hold wherever *expr* may (*upper*), or only where it surely does."""
    match expr:
        case Condition():
            surely, exact = _condition(expr)
            if not by_regex:
                wider = _without_regex(surely)
                surely, exact = wider, exact and wider == surely
            return surely if exact or upper else NOTHING
        case Not(term):
            return _not(_bound(term, upper=not upper, by_regex=by_regex))
        case And(terms):
            return _all([_bound(term, upper=upper, by_regex=by_regex) for term in terms])
        case Or(terms):
            return _any([_bound(term, upper=upper, by_regex=by_regex) for term in terms])


def _without_regex(tests: Tests) -> Tests:
    """Return tests that hold wherever *tests* do, none of which is a regex."""
    match tests:
        case HeaderTest(how=How.REGEX):
            return HeaderTest(tests.name, How.PRESENT)
        case HeaderTest():
            return tests
        case AllOf(terms):
            return _all([_without_regex(term) for term in terms])
        case AnyOf(terms):
            return _any([_without_regex(term) for term in terms])
        case NoneOf():  # what is wider in it would make it narrower; no condition is one
            return ANYTHING


def _condition(condition: Condition) -> tuple[Tests, bool]:  # noqa: PLR0911 - a line for each field
    """Return tests that hold wherever *condition* does, and whether they hold nowhere else."""
    name, op, text = condition.field.name, condition.op, str(condition.value)
    match name:
        case "method":
            return HeaderTest(":method", How.EXACT, text), True
        case "path":
            return _path(op, text)
        case "grpc.method" if op is not Op.MATCHES:
            path, exact = _path(op, text if op is Op.CONTAINS else f"/{text}")
            return _all([HeaderTest("content-type", How.PREFIX, "application/grpc"), path]), exact
        case "authority" if op is Op.MATCHES:
            return HeaderTest(":authority", How.REGEX, any_case(text)), True
        case "authority":
            return HeaderTest(":authority", _HOW[op], text, ignores_case=True), True
        case "header":
            return _header(header_name(condition.field.key or ""), op, text), True
        case "trace_id":
            found = text.removeprefix(_SHORT_ID) if text.startswith(_SHORT_ID) else text
            tests = [HeaderTest(each, How.CONTAINS, found, ignores_case=True) for each in _TRACE_HEADERS]
            return _any(list(tests)), False
    return ANYTHING, False


def _header(name: str, op: Op, text: str) -> HeaderTest:
    return HeaderTest(name, How.PRESENT) if op is Op.EXISTS else HeaderTest(name, _HOW[op], text)


def _path(op: Op, text: str) -> tuple[Tests, bool]:  # noqa: PLR0911 - a line for each operator
    """Compare what is before the query, though tests see all of `:path`."""
    if op is Op.MATCHES:
        return ANYTHING, False
    if "?" in text:
        return NOTHING, True
    match op:
        case Op.BEGINS:
            return HeaderTest(":path", How.PREFIX, text), True
        case Op.CONTAINS:
            return HeaderTest(":path", How.CONTAINS, text), False
        case Op.LIKE:
            segments = template(text)
            literal = [segment not in {"*", "**"} for segment in segments]
            if all(literal):
                return _path(Op.EQUALS, text)
            # All before the first segment that is not literal, and the slash that begins it.
            known = literal.index(False)
            prefix = "".join(f"/{segment}" for segment in segments[:known]) + "/"
            return HeaderTest(":path", How.PREFIX, prefix), segments[known] == "**"
    return _any([HeaderTest(":path", How.EXACT, text), HeaderTest(":path", How.PREFIX, f"{text}?")]), True


def _not(term: Tests) -> Tests:
    if term == ANYTHING:
        return NOTHING
    return ANYTHING if term == NOTHING else NoneOf(term)


def _all(terms: list[Tests]) -> Tests:
    left = tuple(term for term in terms if term != ANYTHING)
    if NOTHING in left:
        return NOTHING
    return left[0] if len(left) == 1 else AllOf(left)


def _any(terms: list[Tests]) -> Tests:
    left = tuple(dict.fromkeys(term for term in terms if term != NOTHING))
    if ANYTHING in left:
        return ANYTHING
    return left[0] if len(left) == 1 else AnyOf(left)
