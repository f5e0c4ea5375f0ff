"""Reads predicates.

expr      = and { "or" and } ;
and       = not { "and" not } ;
not       = "not" not | "(" expr ")" | "all" | condition ;
condition = field [ "[" key "]" ] ( op value | "exists" ) | "sample" "(" rate ")" | "first" "(" count ")" ;
"""

from collections.abc import Callable
from difflib import get_close_matches

from envoy_tap.core.predicate.fields import FIELDS, Spec
from envoy_tap.core.predicate.model import And, Condition, Expr, Field, Not, Op, all_of, any_of, none_of
from envoy_tap.core.predicate.scanner import PredicateError, Scanner
from envoy_tap.core.predicate.values import ValueProblem, read_key, read_value

MAX_CHARS = 4096
MAX_DEPTH = 32
MAX_CONDITIONS = 64
_KEYWORDS = ("and", "or", "not", "all")
_UNEQUAL = "!="
Refusal = Callable[[Condition], tuple[str, str] | None]
"""Returns what is wrong with a condition, and what would be right; None if nothing is."""


def parse(text: str, refused: Refusal | None = None) -> Expr:
    """Return the predicate that *text* says; raises PredicateError with the position of what is wrong, or *refused*."""
    if len(text) > MAX_CHARS:
        raise PredicateError(f"a predicate has {MAX_CHARS} characters at most, this has {len(text)}", 1, 1)
    return _Parser(text, refused).whole()


class _Parser:
    def __init__(self, text: str, refused: Refusal | None) -> None:
        self._scanner = Scanner(text)
        self._refused = refused
        self._depth = 0
        self._conditions = 0
        self._firsts: list[tuple[Condition, int]] = []

    def whole(self) -> Expr:
        expr = self._any()
        rest = self._scanner.rest()
        if rest:
            hint = "combine conditions by and, or, not and parentheses"
            raise self._scanner.error(f"{rest!r} is not expected here", hint)
        top = expr.terms if isinstance(expr, And) else (expr,)
        for place, (first, at) in enumerate(self._firsts):
            if place or first not in top:
                hint = "it counts what all other conditions let through: write ... and first(100), once"
                raise self._scanner.error("first(…) cannot stand here", hint, at=at)
        return expr

    def _any(self) -> Expr:
        terms = [self._all()]
        while self._scanner.take_word("or"):
            terms.append(self._all())
        return any_of(*terms)

    def _all(self) -> Expr:
        terms = [self._one()]
        while self._scanner.take_word("and"):
            terms.append(self._one())
        return all_of(*terms)

    def _one(self) -> Expr:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._scanner.rest()
            raise self._scanner.error(f"nested deeper than {MAX_DEPTH} levels")
        try:
            if self._scanner.take_word("not"):
                return none_of(self._one())
            if self._scanner.take("("):
                expr = self._any()
                if not self._scanner.take(")"):
                    raise self._scanner.error("a closing parenthesis is missing here")
                return expr
            return And() if self._scanner.take_word("all") else self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Expr:
        name, spec = self._field()
        start = self._scanner.token_at
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise self._scanner.error(f"more than {MAX_CONDITIONS} conditions")
        if spec.is_call:
            return self._call(name, spec)
        field = self._keyed(name, spec)
        symbol = self._scanner.take_op()
        at = self._scanner.token_at
        allowed = [_UNEQUAL if op == _UNEQUAL else str(op) for op in self._allowed(spec)]
        if symbol not in allowed:
            said = (
                f"{name} cannot be compared by {symbol}" if symbol else f"an operator is missing after {name}"
            )
            raise self._scanner.error(said, f"it takes {' '.join(allowed)}", at=at)
        op = Op.EQUALS if symbol == _UNEQUAL else Op(symbol)
        if op is Op.EXISTS:
            return self._allowed_one(Condition(field, op), start)
        text, quoted = self._scanner.take_value()
        condition = self._allowed_one(
            Condition(field, op, self._value(field, spec, op, text, quoted=quoted)), start
        )
        return Not(condition) if symbol == _UNEQUAL else condition

    def _allowed_one(self, condition: Condition, start: int) -> Condition:
        problem = self._refused(condition) if self._refused else None
        if problem is not None:
            raise self._scanner.error(*problem, at=start)
        return condition

    def _allowed(self, spec: Spec) -> list[str]:
        return [*spec.ops, _UNEQUAL] if Op.EQUALS in spec.ops else [*spec.ops]

    def _field(self) -> tuple[str, Spec]:
        name = self._scanner.take_name()
        at = self._scanner.token_at
        spec = FIELDS.get(name)
        if spec is not None:
            return name, spec
        known = f"known are {', '.join(FIELDS)}"
        if not name or name in _KEYWORDS:
            raise self._scanner.error("a condition is missing here", known, at=at)
        close = get_close_matches(name.lower(), (*FIELDS, *_KEYWORDS), n=1)
        raise self._scanner.error(
            f"{name!r} is not a field", f"did you mean {close[0]}?" if close else known, at=at
        )

    def _keyed(self, name: str, spec: Spec) -> Field:
        if not spec.key:
            return Field(name)
        if not self._scanner.take("["):
            raise self._scanner.error(f"{name} needs {spec.key} in brackets", f"write {name}[…]")
        key = self._scanner.take_key()
        try:
            read = read_key(name, key)
        except ValueProblem as problem:
            raise self._scanner.error(problem.message, problem.hint) from None
        if not self._scanner.take("]"):
            raise self._scanner.error("a closing bracket is missing here")
        return Field(name, read)

    def _call(self, name: str, spec: Spec) -> Condition:
        at = self._scanner.token_at
        if not self._scanner.take("("):
            raise self._scanner.error(f"{name} needs its number in parentheses", f"write {name}(…)")
        text, quoted = self._scanner.take_value()
        condition = Condition(
            Field(name), Op.EQUALS, self._value(Field(name), spec, Op.EQUALS, text, quoted=quoted)
        )
        if not self._scanner.take(")"):
            raise self._scanner.error("a closing parenthesis is missing here")
        if name == "first":
            self._firsts.append((condition, at))
        return condition

    def _value(
        self, field: Field, spec: Spec, op: Op, text: str, *, quoted: bool
    ) -> str | int | float | bool | None:
        try:
            return read_value(field, spec.kind, op, text, quoted=quoted)
        except ValueProblem as problem:
            raise self._scanner.error(problem.message, problem.hint) from None


def first_of(expr: Expr) -> int | None:
    """Return the N of `first(N)`, None without one."""
    for term in expr.terms if isinstance(expr, And) else (expr,):
        if isinstance(term, Condition) and term.field.name == "first":
            return int(term.value or 0)
    return None
