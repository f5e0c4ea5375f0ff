"""Decides predicates, over a whole exchange or over what is seen early of it."""

import ipaddress
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from envoy_tap.core.exchange import Exchange, Message, Pairs
from envoy_tap.core.predicate.fields import Kind, header_name, is_early, spec_of
from envoy_tap.core.predicate.jsonpath import MISSING, found_at, parsed
from envoy_tap.core.predicate.model import And, Condition, Expr, Not, Op, Or, Scalar, conditions
from envoy_tap.core.predicate.values import MILLION, any_case, regex, template

REDACTION_MARK = b"[redacted"
TRACE_ID_BITS = 52

_ORDER: dict[Op, Callable[[int, int], bool]] = {
    Op.EQUALS: operator.eq,
    Op.BELOW: operator.lt,
    Op.AT_MOST: operator.le,
    Op.ABOVE: operator.gt,
    Op.AT_LEAST: operator.ge,
}
_COMPARISONS: dict[Op, Callable[[bytes, bytes], bool]] = {
    Op.EQUALS: operator.eq,
    Op.BEGINS: bytes.startswith,
    Op.CONTAINS: operator.contains,
}
_EMPTY = Message()
_NUMBER = re.compile(rb"[0-9]{1,9}")
_IPV4_PEER = re.compile(rb"([0-9]{1,3}(?:\.[0-9]{1,3}){3}):[0-9]+")
_IPV6_PEER = re.compile(rb"\[([0-9a-fA-F:.]+)(?:%[^\]]*)?\]:[0-9]+")


def matches(expr: Expr, exchange: Exchange, decided: str = "") -> bool:
    """Whether *exchange* fulfils *expr*; what is missing of it fulfils no condition.

    *decided* is what the proxy found before it redacted: `0` or `1` for each early condition in its order. It counts
    where what arrived was redacted, and cannot be compared any more.
    """
    view = _View(exchange)
    early_ones = iter(decided)

    def decide(condition: Condition) -> bool:
        told = next(early_ones, "") if is_early(condition) else ""
        if told and view.is_redacted(condition):
            return told == "1"
        return view.holds(condition)

    # All are decided, in their order: `decided` is read along with them.
    answers = [decide(condition) for condition in conditions(expr)]
    return bool(_combined(expr, iter(answers)))


def early(expr: Expr, exchange: Exchange) -> bool | None:
    """Return what the request's headers and connection alone decide about *expr*; None if it takes more."""
    view = _View(exchange)
    answers = [view.holds(each) if is_early(each) else None for each in conditions(expr)]
    return _combined(expr, iter(answers))


def decided(expr: Expr, exchange: Exchange) -> str:
    """Return what `matches` takes as *decided*, of an *exchange* that nobody has redacted."""
    view = _View(exchange)
    return "".join("01"[view.holds(each)] for each in conditions(expr) if is_early(each))


def _combined(expr: Expr, answers: Iterator[bool | None]) -> bool | None:
    """Combine by Kleene's three-valued logic."""
    match expr:
        case Condition():
            return next(answers)
        case Not(term):
            inner = _combined(term, answers)
            return None if inner is None else not inner
        case And(terms):
            found = [_combined(term, answers) for term in terms]
            return False if False in found else None if None in found else True
        case Or(terms):
            found = [_combined(term, answers) for term in terms]
            return True if True in found else None if None in found else False


class _View:
    """An exchange as conditions see it; what is costly is done once."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._request = exchange.request or _EMPTY
        self._response = exchange.response or _EMPTY
        self._json: dict[str, Any] = {}

    def is_redacted(self, condition: Condition) -> bool:
        texts = self._texts(condition)
        return any(text is not None and REDACTION_MARK in text for text in texts)

    def holds(self, condition: Condition) -> bool:  # noqa: PLR0911 - a line for each kind
        value, op, name = condition.value, condition.op, condition.field.name
        match spec_of(condition.field).kind:
            case Kind.FIRST:
                return True
            case Kind.SAMPLE:
                place = self._exchange.trace_id % (1 << TRACE_ID_BITS)
                return place < _int(value) * (1 << TRACE_ID_BITS) // MILLION
            case Kind.STATUS:
                return _status_holds(self._response.first(":status"), op, value)
            case Kind.GRPC_STATUS:
                return _number_holds(self._grpc_status(), op, _int(value))
            case Kind.DURATION:
                latency_us = round(self._exchange.latency_s * MILLION)
                return not self._exchange.incomplete and _ORDER[op](latency_us, _int(value))
            case Kind.ADDRESS:
                return _address_holds(self._exchange.source_address.encode(), str(value))
            case Kind.TRACE_ID:
                return trace_id(self._request.headers) == str(value).encode()
            case Kind.JSON:
                return self._json_holds(name, condition)
            case _:
                return any(_text_holds(text, condition) for text in self._texts(condition))

    def _texts(self, condition: Condition) -> Sequence[bytes | None]:  # noqa: C901, PLR0911 - a line for each field
        name, key = condition.field.name, condition.field.key
        match name:
            case "method":
                return [self._request.first(":method")]
            case "path":
                return [self._path()]
            case "authority":
                return [self._request.first(":authority")]
            case "header":
                return [joined(self._request.headers, header_name(key or ""))]
            case "response.header":
                return [joined(self._response.headers, key or "")]
            case "grpc.method":
                return [self._grpc_method()]
            case "source.principal":
                return [self._exchange.source_principal.encode() or None]
            case "trace_id":
                return [joined(self._request.headers, each) for each in ("traceparent", "x-b3-traceid", "b3")]
            case "body":
                return [self._request.body, self._response.body]
            case "request.body":
                return [self._request.body]
            case "response.body":
                return [self._response.body]
        return []

    def _path(self) -> bytes | None:
        path = self._request.first(":path")
        return None if path is None else path.partition(b"?")[0]

    def _grpc_method(self) -> bytes | None:
        content_type = joined(self._request.headers, "content-type") or b""
        path = self._path()
        return (
            path[1:] if path and path[:1] == b"/" and content_type.startswith(b"application/grpc") else None
        )

    def _grpc_status(self) -> bytes | None:
        found = joined(self._response.trailers, "grpc-status")
        return joined(self._response.headers, "grpc-status") if found is None else found

    def _json_holds(self, name: str, condition: Condition) -> bool:
        if name not in self._json:
            self._json[name] = parsed((self._request if name == "request.json" else self._response).body)
        data = self._json[name]
        if data is MISSING:
            return False
        found = found_at(data, condition.field.key or "")
        if condition.op is Op.EXISTS:
            return bool(found)
        if condition.op is Op.EQUALS:
            return any(_same(value, condition.value) for value in found)
        texts = (value.encode(errors="replace") for value in found if isinstance(value, str))
        return any(_text_holds(text, condition) for text in texts)


def joined(pairs: Pairs, name: str) -> bytes | None:
    """Return the values of the header *name* (lower case) joined by commas, as Envoy does; None without one."""
    values = [value for key, value in pairs if key == name]
    return b",".join(values) if values else None


def _same(found: Any, wanted: Scalar) -> bool:
    # In Python, True is 1; in JSON it is not.
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return isinstance(found, str | int | float | None) and bool(found == wanted)


def _text_holds(text: bytes | None, condition: Condition) -> bool:
    if text is None:
        return False
    value = str(condition.value)
    if condition.op is Op.MATCHES:
        pattern = any_case(value) if condition.field.name == "authority" else value
        return regex(pattern).fullmatch(text) is not None
    wanted = value.encode()
    if condition.field.name == "authority":
        text, wanted = text.lower(), wanted.lower()
    if condition.op is Op.LIKE:
        return _like(text, template(value))
    return condition.op is Op.EXISTS or _COMPARISONS[condition.op](text, wanted)


def _like(path: bytes, segments: tuple[str, ...]) -> bool:
    root, *given = path.split(b"/")
    if root:
        return False
    if segments[-1] == "**":
        segments = segments[:-1]
        # `/a/**` is also /a/, and not /a.
        if len(given) <= len(segments):
            return False
        given = given[: len(segments)]
    return len(given) == len(segments) and all(
        (segment == "*" and part != b"") or part == segment.encode()
        for segment, part in zip(segments, given, strict=True)
    )


def _status_holds(status: bytes | None, op: Op, value: Scalar) -> bool:
    if isinstance(value, str):
        return (
            status is not None and _NUMBER.fullmatch(status) is not None and status[:1] == value[:1].encode()
        )
    return _number_holds(status, op, _int(value))


def _number_holds(number: bytes | None, op: Op, value: int) -> bool:
    return number is not None and _NUMBER.fullmatch(number) is not None and _ORDER[op](int(number), value)


def _address_holds(peer: bytes | None, network: str) -> bool:
    found = _IPV4_PEER.fullmatch(peer or b"") or _IPV6_PEER.fullmatch(peer or b"")
    if found is None:
        return False
    try:
        return ipaddress.ip_address(found[1].decode()) in ipaddress.ip_network(network)
    except ValueError:
        return False


def trace_id(headers: Pairs) -> bytes | None:
    """Return the trace id of W3C or B3 headers as 32 hexadecimal digits in lower case, None without one."""
    for name, pattern in _TRACE_HEADERS:
        found = pattern.match(joined(headers, name) or b"")
        if found:
            return found[1].lower().zfill(32)
    return None


def _int(value: Scalar) -> int:
    return int(value or 0)


# W3C Trace Context 3.2.1; B3 multiple and single headers.
_TRACE_HEADERS = (
    ("traceparent", re.compile(rb"[0-9a-fA-F]{2}-([0-9a-fA-F]{32})-")),
    ("x-b3-traceid", re.compile(rb"((?:[0-9a-fA-F]{16}){1,2})\Z")),
    ("b3", re.compile(rb"((?:[0-9a-fA-F]{16}){1,2})-")),
)
