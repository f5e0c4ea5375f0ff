"""What the audit log says about a session: its target, without the values that may be secrets."""

from dataclasses import asdict, replace
from typing import Any

from envoy_tap.core.predicate import And, Condition, Expr, Not, Op, Or, printed
from envoy_tap.core.session import Session

_HIDDEN = "[hidden]"
_OPEN = frozenset(
    {
        "method",
        "path",
        "authority",
        "status",
        "latency",
        "grpc.method",
        "grpc.status",
        "source.address",
        "sample",
        "first",
    }
)


def target(session: Session) -> dict[str, Any]:
    """Return who is captured why and how much, as JSON data; values of headers and bodies are hidden."""
    return {
        "why": session.why,
        "predicate": printed(_masked(session.predicate)),
        "ids": list(session.nodes.ids),
        "clusters": list(session.nodes.clusters),
        "limits": asdict(session.limits),
        "team": session.team,
        "needs_approval": session.needs_approval,
    }


def _masked(expr: Expr) -> Expr:
    match expr:
        case Condition():
            is_shown = expr.field.name in _OPEN or expr.op is Op.EXISTS
            return expr if is_shown else replace(expr, value=_HIDDEN)
        case Not(term):
            return Not(_masked(term))
        case And(terms):
            return And(tuple(map(_masked, terms)))
        case Or(terms):
            return Or(tuple(map(_masked, terms)))
