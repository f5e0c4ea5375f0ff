"""Decides predicates by an exchange's summary, where that tells enough: a list is filtered without its exchanges."""

from collections.abc import Mapping
from typing import Any

from envoy_tap.core.exchange import Exchange, Message, Node
from envoy_tap.core.predicate import Expr, matches
from envoy_tap.core.predicate.model import conditions

# Only what a summary holds as the exchange itself does: its latency is rounded, and its trace id has lost its header.
_PSEUDO = {"method": ":method", "path": ":path", "authority": ":authority"}
_TOLD = frozenset({*_PSEUDO, "status", "first"})


def is_told(wanted: Expr) -> bool:
    """Whether summaries tell all that *wanted* asks for."""
    return all(condition.field.name in _TOLD for condition in conditions(wanted))


def fulfils(wanted: Expr, summary: Mapping[str, Any]) -> bool:
    """Whether the exchange of *summary* (`record.summary`) matches *wanted*, of which `is_told` holds."""
    return matches(wanted, _exchange(summary))


def _exchange(summary: Mapping[str, Any]) -> Exchange:
    request = tuple(
        (header, summary[name].encode()) for name, header in _PSEUDO.items() if summary[name] is not None
    )
    status = summary["status"]
    response = () if status is None else ((":status", str(status).encode()),)
    node = Node(summary["node"]["id"], summary["node"]["cluster"])
    return Exchange(summary["session"], node, 0, Message(request), Message(response), 0.0, 0.0)
