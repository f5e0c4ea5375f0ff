"""Writes predicates in one canonical form, which reads back as the same predicate."""

from envoy_tap.core.predicate.fields import spec_of
from envoy_tap.core.predicate.model import And, Condition, Expr, Not, Op, Or
from envoy_tap.core.predicate.values import quoted_text, written


def printed(expr: Expr) -> str:
    """Return *expr* as text; `parse(printed(expr)) == expr` for what `parse` returns."""
    match expr:
        case And(()):
            return "all"
        case And(terms):
            return " and ".join(_within(term, (Or,)) for term in terms)
        case Or(terms):
            return " or ".join(printed(term) for term in terms)
        case Not(term):
            return f"not {_within(term, (And, Or))}"
        case Condition():
            return _condition(expr)


def _within(term: Expr, looser: tuple[type[And | Or], ...]) -> str:
    text = printed(term)
    return f"({text})" if isinstance(term, looser) and term.terms else text


def _condition(condition: Condition) -> str:
    field, spec = condition.field, spec_of(condition.field)
    value = "" if condition.op is Op.EXISTS else written(spec.kind, condition.value)
    if spec.is_call:
        return f"{field.name}({value})"
    key = "" if field.key is None else f"[{quoted_text(field.key)}]"
    return f"{field.name}{key} {condition.op} {value}".rstrip()
