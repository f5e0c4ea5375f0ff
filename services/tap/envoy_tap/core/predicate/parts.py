"""Which part of a predicate the proxy decides, and what is left to the collector; both as predicates."""

from envoy_tap.core.predicate.fields import is_early
from envoy_tap.core.predicate.model import And, Condition, Expr, Not, Or, all_of, any_of, none_of

_ALL = And()


def proxy_part(expr: Expr) -> Expr:
    """Return what the proxy asks for: true of all that may fulfil *expr*, `all` where it can't decide anything."""
    return _bound(expr, upper=True) or _ALL


def collector_part(expr: Expr) -> Expr:
    """Return what is left of *expr* for what fulfils its `proxy_part`; `all` if nothing is."""
    terms = expr.terms if isinstance(expr, And) else (expr,)
    left = [term for term in terms if _bound(term, upper=True) != term]
    return all_of(*left) if left else _ALL


def _bound(expr: Expr, *, upper: bool) -> Expr | None:
    """Return the least that *expr* implies (upper), or the most that implies it; None: nothing can be said."""
    match expr:
        case Condition():
            return expr if is_early(expr) else None
        case Not(term):
            inner = _bound(term, upper=not upper)
            return None if inner is None else none_of(inner)
        case And(terms) | Or(terms):
            bounds = [_bound(term, upper=upper) for term in terms]
            # What can't be said may be left out of a conjunction only where more is allowed, and so on.
            may_leave_out = isinstance(expr, And) is upper
            known = [bound for bound in bounds if bound is not None]
            if len(known) < len(bounds) and not may_leave_out:
                return None
            if not terms:
                return expr
            return (all_of if isinstance(expr, And) else any_of)(*known) if known else None
