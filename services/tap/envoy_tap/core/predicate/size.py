"""How much of an exchange a predicate looks into: bodies cost the more the larger they are."""

from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.predicate.fields import Kind, spec_of
from envoy_tap.core.predicate.model import Condition, Expr, conditions

MAX_JSON_BYTES = 1 << 20
"""What is read as JSON at most: in memory that is thirty times as much. Of a larger body nothing is known."""


def looked_into_bytes(expr: Expr, exchange: Exchange) -> int:
    """Return the size of the largest body of *exchange* that a condition looks into."""
    return max((_body_bytes(each, exchange) for each in conditions(expr)), default=0)


def is_too_large(expr: Expr, exchange: Exchange) -> bool:
    """Whether a condition asks for JSON in a body that is not read for its size."""
    return any(
        _body_bytes(each, exchange) > MAX_JSON_BYTES
        for each in conditions(expr)
        if spec_of(each.field).kind is Kind.JSON
    )


def _body_bytes(condition: Condition, exchange: Exchange) -> int:
    if spec_of(condition.field).kind not in {Kind.BODY, Kind.JSON}:
        return 0
    side, _, rest = condition.field.name.partition(".")
    halves = (getattr(exchange, side),) if rest else (exchange.request, exchange.response)
    return max(len((half or Message()).body) for half in halves)
