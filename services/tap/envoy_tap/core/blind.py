"""Conditions that redaction is likely to leave undecided: what to tell who asks for them, before they wait in vain."""

import re
from collections.abc import Iterator

from envoy_tap.core.predicate.fields import Kind, is_early, spec_of
from envoy_tap.core.predicate.model import Condition, Expr, Op, conditions
from envoy_tap.core.predicate.printer import printed
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Redaction

_HIDDEN = frozenset({Kind.TEXT, Kind.BODY, Kind.JSON})
# A character that stands for itself: `[.]` and `\.`.
_LITERAL = re.compile(r"\[([^\]\w^\\])\]|\\([^\w])")
_PLAIN = b"text/plain"


def warnings(expr: Expr, rules: Redaction) -> list[str]:
    """Return what to know of conditions of *expr* that look for what *rules* replace before they are judged."""
    redactor = Redactor(rules, frozenset(), b"")
    return [*dict.fromkeys(_said(each) for each in conditions(expr) if _is_blind(each, redactor))]


def _is_blind(condition: Condition, redactor: Redactor) -> bool:
    if is_early(condition) or spec_of(condition.field).kind not in _HIDDEN or condition.op is Op.EXISTS:
        return False
    return any(_is_replaced(text, redactor) for text in _sought(condition))


def _sought(condition: Condition) -> Iterator[str]:
    """Yield what stands in a text that fulfils *condition*, as far as that is known."""
    if not isinstance(condition.value, str):
        return
    yield condition.value
    if condition.op is Op.MATCHES:
        yield _LITERAL.sub(lambda found: found[1] or found[2], condition.value)


def _is_replaced(text: str, redactor: Redactor) -> bool:
    sent = text.encode()
    return redactor.header("", sent) != sent or redactor.body(sent, _PLAIN) != sent


def _said(condition: Condition) -> str:
    told = f"{printed(condition)} looks for what is redacted before it is judged: where that is there it is undecided, and captures nothing"
    name = condition.field.name
    if condition.op is Op.MATCHES and spec_of(condition.field).is_early:
        return f"{told}; the proxy decides {name} by =, ^= and *=, before it redacts"
    return told
