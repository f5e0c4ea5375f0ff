"""Predicates as values: conditions, and their combinations."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

Scalar = str | int | float | bool | None


class Op(StrEnum):
    """How a condition compares, as it is written."""

    EQUALS = "="
    BEGINS = "^="
    CONTAINS = "*="
    MATCHES = "~"
    LIKE = "like"
    EXISTS = "exists"
    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Field:
    """What is compared: a name out of `fields.FIELDS`, and the key for those that have one (`header[x-user]`)."""

    name: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `value` is text, or by the field's kind: see `fields.Kind`."""

    field: Field
    op: Op
    value: Scalar = None


@dataclass(frozen=True, slots=True)
class Not:
    """True where *term* is not."""

    term: "Expr"


@dataclass(frozen=True, slots=True)
class And:
    """True where all of *terms* are; without terms it is true of everything (`all`)."""

    terms: tuple["Expr", ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """True where one of *terms* is; there are two or more."""

    terms: tuple["Expr", ...]


Expr = Condition | Not | And | Or


def all_of(*terms: Expr) -> Expr:
    """Return the conjunction in its canonical form: flat, and no conjunction of one."""
    flat = tuple(
        inner for term in terms for inner in (term.terms if isinstance(term, And) and term.terms else (term,))
    )
    return flat[0] if len(flat) == 1 else And(flat)


def any_of(*terms: Expr) -> Expr:
    """Return the disjunction of one or more terms in its canonical form: flat, and no disjunction of one."""
    flat = tuple(inner for term in terms for inner in (term.terms if isinstance(term, Or) else (term,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def none_of(term: Expr) -> Expr:
    """Return the negation in its canonical form: two cancel each other."""
    return term.term if isinstance(term, Not) else Not(term)


def conditions(expr: Expr) -> Iterator[Condition]:
    """Yield the conditions of *expr* in the order in which they are written."""
    match expr:
        case Condition():
            yield expr
        case Not(term):
            yield from conditions(term)
        case And(terms) | Or(terms):
            for term in terms:
                yield from conditions(term)
