"""Compiles predicates to Lua: what the proxy sees early of a request, and never less than the predicate wants.

The code calls the functions of `slot/predicate.lua`, as `P`, on the request `r`. What an operator wrote is in it only
as escaped literals.
"""

import ipaddress

from envoy_tap.core.predicate.evaluator import PLACE_BITS
from envoy_tap.core.predicate.fields import header_name, is_early
from envoy_tap.core.predicate.model import And, Condition, Expr, Not, Op, Or, conditions
from envoy_tap.core.predicate.values import MILLION, template

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_TRUE, _FALSE = "true", "false"
_CALLS = {Op.EQUALS: "P.is", Op.BEGINS: "P.begins", Op.CONTAINS: "P.contains", Op.EXISTS: "P.exists"}
_FIELDS = {
    "method": "r:method()",
    "path": "r:path()",
    "authority": "r:authority()",
    "grpc.method": "r:grpc_method()",
    "source.principal": "r:principal()",
}


def quoted(text: str) -> str:
    r"""Return *text* as a Lua string literal of its UTF-8 bytes.

    Every byte but ASCII letters and digits is written `\ddd`, three digits always, so no input holds a quote, a
    backslash of its own, a line end or a placeholder (Lua 5.1 manual, 2.1). A lone surrogate is written as `?`.
    """
    data = text.encode(errors="replace")
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03d}" for byte in data) + '"'


def compiled(expr: Expr) -> str:
    """Return a Lua expression that is true for every request that may fulfil *expr*.

    It is false only where `evaluator.early` is False: what takes more than the request's headers is let through, here
    as in a negation.
    """
    return _bound(expr, upper=True)


def decisions(expr: Expr) -> str:
    """Return a Lua expression for the `decided` of `evaluator.matches`: a `0` or `1` for each early condition."""
    bits = [f"P.bit({_condition(each)})" for each in conditions(expr) if is_early(each)]
    return " .. ".join(bits) if bits else '""'


def _bound(expr: Expr, *, upper: bool) -> str:
    match expr:
        case Condition():
            if is_early(expr):
                return _condition(expr)
            return _TRUE if upper else _FALSE
        case Not(term):
            inner = _bound(term, upper=not upper)
            return {_TRUE: _FALSE, _FALSE: _TRUE}.get(inner, f"not {inner}")
        case And(terms):
            return _joined("and", _FALSE, _TRUE, [_bound(term, upper=upper) for term in terms])
        case Or(terms):
            return _joined("or", _TRUE, _FALSE, [_bound(term, upper=upper) for term in terms])


def _joined(word: str, decisive: str, neutral: str, terms: list[str]) -> str:
    if decisive in terms:
        return decisive
    left = [term for term in terms if term != neutral]
    if not left:
        return neutral
    return left[0] if len(left) == 1 else "(" + f" {word} ".join(left) + ")"


def _condition(condition: Condition) -> str:
    name, value = condition.field.name, condition.value
    match name:
        case "sample":
            return f"P.below(r:place(), {int(value or 0) * (1 << PLACE_BITS) // MILLION})"
        case "trace_id":
            return f"P.is(r:trace_id(), {quoted(str(value))})"
        case "source.address":
            network = ipaddress.IPv4Network(str(value))
            return f"P.within(r:address(), {int(network.network_address)}, {network.num_addresses})"
        case "header":
            subject = f"r:header({quoted(header_name(condition.field.key or ''))})"
        case _:
            subject = _FIELDS[name]
    text = str(value).lower() if name == "authority" else str(value)
    if condition.op is Op.LIKE:
        return f"P.like({subject}, {quoted(_pattern(text))})"
    arguments = [subject] if condition.op is Op.EXISTS else [subject, quoted(text)]
    return f"{_CALLS[condition.op]}({', '.join(arguments)})"


def _pattern(text: str) -> str:
    """Return a path template as a Lua pattern (manual, 5.4.1)."""
    parts = {"*": "[^/]+", "**": ".*"}
    segments = [parts.get(segment) or escaped(segment) for segment in template(text)]
    return "^/" + "/".join(segments) + "$"


def escaped(segment: str) -> str:
    """Return ASCII text as a Lua pattern that matches just it."""
    return "".join(char if char.isalnum() else f"%{char}" for char in segment)
