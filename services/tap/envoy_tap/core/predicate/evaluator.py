"""Decides predicates, over a whole exchange or over what is seen early of it.

By Kleene's three-valued logic: None is what nobody can know, since redaction took away what it depends on.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from envoy_tap.core.exchange import Exchange, Message, Pairs
from envoy_tap.core.predicate.comparison import (
    ORDER,
    address_holds,
    is_marked,
    number_holds,
    status_holds,
    text_answer,
    text_holds,
    value_answers,
    value_holds,
)
from envoy_tap.core.predicate.fields import Kind, header_name, is_early, spec_of
from envoy_tap.core.predicate.jsonpath import MISSING, found_at, parsed, steps
from envoy_tap.core.predicate.model import And, Condition, Expr, Not, Or, Scalar, conditions
from envoy_tap.core.predicate.size import MAX_JSON_BYTES
from envoy_tap.core.predicate.values import MILLION

TRACE_ID_BITS = 52
PLACE_BITS = 32

_EMPTY = Message()
_UNKNOWN = b"[redacted]"
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\n\r]*[{\[]")
# What redaction may change.
_REDACTED = frozenset({Kind.TEXT, Kind.BODY, Kind.JSON})


class Hiding(Protocol):
    """What redaction makes of texts before they are stored: `redaction.redactor.Redactor`."""

    def header(self, name: str, value: bytes) -> bytes:
        """Return *value* as it may be stored; *name* in lower case."""

    def body(self, body: bytes, content_type: bytes, *, cut: bool = False) -> bytes:
        """Return *body*, which is in no content encoding, as it may be stored."""


def matches(expr: Expr, exchange: Exchange, decided: str = "", hiding: Hiding | None = None) -> bool:
    """Whether *exchange* fulfils *expr*; what is missing of it fulfils no condition.

    *decided* is what the proxy found before it redacted: `0` or `1` for each early condition in its order. It counts
    where what arrived was redacted. All other conditions see the exchange as *hiding* will have it stored (without one it
    is stored so), whoever redacts and when; one that depends on what was replaced is undecided, and so is what follows
    from it: then the answer is no, under a `not` too.
    """
    arrived, stored = _View(exchange), _View(exchange, hiding)
    early_ones = iter(decided)
    cheap: list[bool | None] = []
    for condition in conditions(expr):
        told = next(early_ones, "") if is_early(condition) else ""
        if told and arrived.is_redacted(condition):
            cheap.append(told == "1")
        elif is_early(condition) or spec_of(condition.field).kind not in _REDACTED:
            cheap.append(arrived.answer(condition))
        else:
            cheap.append(None)
    found = _combined(expr, iter(cheap))
    if found is not None:
        return found

    def decide(condition: Condition, known: bool | None, wanted: bool) -> bool | None:
        if known is not None or is_early(condition):
            return known
        # What is stored says less than what arrived, and never the contrary: where that does not help, redaction, which
        # costs more, can't either.
        holds = arrived.holds(condition)
        helps = holds is wanted or arrived.is_broken(condition)
        return stored.answer(condition) if helps else holds

    answers = map(decide, conditions(expr), cheap, _wanted(expr))
    return bool(_combined(expr, answers))


def _wanted(expr: Expr, value: bool = True) -> Iterator[bool]:
    """Yield for each condition whether it helps *expr* to be *value* by holding, or by not holding."""
    match expr:
        case Condition():
            yield value
        case Not(term):
            yield from _wanted(term, not value)
        case And(terms) | Or(terms):
            for term in terms:
                yield from _wanted(term, value)


def early(expr: Expr, exchange: Exchange) -> bool | None:
    """Return what the request's headers and connection, as sent, decide about *expr*; None if it takes more."""
    view = _View(exchange)
    answers = [view.holds(each) if is_early(each) else None for each in conditions(expr)]
    return _combined(expr, iter(answers))


def decided(expr: Expr, exchange: Exchange) -> str:
    """Return what `matches` takes as *decided*, of an *exchange* that nobody has redacted."""
    view = _View(exchange)
    return "".join("01"[view.holds(each)] for each in conditions(expr) if is_early(each))


def _combined(expr: Expr, answers: Iterator[bool | None]) -> bool | None:
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


def _any(answers: Iterable[bool | None]) -> bool | None:
    found: bool | None = False
    for answer in answers:
        if answer:
            return True
        found = None if answer is None else found
    return found


class _View:
    """An exchange as conditions see it, by *hiding* if there is one; what is costly is done once."""

    def __init__(self, exchange: Exchange, hiding: Hiding | None = None) -> None:
        self._exchange = exchange
        self._hiding = hiding
        self._request = exchange.request or _EMPTY
        self._response = exchange.response or _EMPTY
        self._bodies: dict[int, bytes] = {}
        self._json: dict[str, Any] = {}

    def is_redacted(self, condition: Condition) -> bool:
        """Whether something was replaced in what *condition* compares."""
        return any(text is not None and is_marked(text) for text in self._texts(condition))

    def is_broken(self, condition: Condition) -> bool:
        """Whether *condition* asks for JSON where there is none; redaction may make some of it."""
        return spec_of(condition.field).kind is Kind.JSON and self._data(condition) is MISSING

    def answer(self, condition: Condition) -> bool | None:
        """Return whether *condition* holds; None where that depends on what was replaced."""
        kind = spec_of(condition.field).kind
        if kind is Kind.JSON:
            return self._json_answer(condition)
        if kind is Kind.SAMPLE and self._exchange.request is None and self._exchange.socket is None:
            return None
        if kind in {Kind.TRACE_ID, Kind.SAMPLE}:
            return None if self.is_redacted(condition) else self.holds(condition)
        if kind not in _REDACTED:
            return self.holds(condition)
        return _any(text_answer(text, condition) for text in self._texts(condition))

    def holds(self, condition: Condition) -> bool:  # noqa: PLR0911 - a line for each kind
        value, op = condition.value, condition.op
        match spec_of(condition.field).kind:
            case Kind.FIRST:
                return True
            case Kind.SAMPLE:
                return self._place() < _int(value) * (1 << PLACE_BITS) // MILLION
            case Kind.STATUS:
                return status_holds(self._response.first(":status"), op, value)
            case Kind.GRPC_STATUS:
                return number_holds(self._grpc_status(), op, _int(value))
            case Kind.DURATION:
                latency_us = round(self._exchange.latency_s * MILLION)
                return not self._exchange.incomplete and ORDER[op](latency_us, _int(value))
            case Kind.ADDRESS:
                return address_holds(self._exchange.source_address.encode(), str(value))
            case Kind.TRACE_ID:
                return trace_id(self._request.headers) == str(value).encode()
            case Kind.JSON:
                return self._json_holds(condition)
            case _:
                return any(text_holds(text, condition) for text in self._texts(condition))

    def _texts(self, condition: Condition) -> Iterator[bytes | None]:  # noqa: C901 - a line for each field
        """Yield what *condition* compares, and no more than is asked for: a body costs to be hidden."""
        name, key = condition.field.name, condition.field.key
        match name:
            case "method":
                yield self._request.first(":method")
            case "path":
                yield self._path()
            case "authority":
                yield self._header(self._request, ":authority")
            case "header":
                yield self._header(self._request, header_name(key or ""))
            case "response.header":
                yield self._header(self._response, key or "")
            case "grpc.method":
                yield self._grpc_method()
            case "source.principal":
                yield self._exchange.source_principal.encode() or None
            case "trace_id":
                yield from (joined(self._request.headers, each) for each, _ in _TRACE_HEADERS)
            case "sample":
                ids = (_REQUEST_ID, *(each for each, _ in _TRACE_HEADERS))
                yield from (joined(self._request.headers, each) for each in ids)
            case "body":
                yield self._body(self._request)
                yield self._body(self._response)
            case "request.body" | "request.json":
                yield self._body(self._request)
            case "response.body" | "response.json":
                yield self._body(self._response)

    def _place(self) -> int:
        """Return where in 32 bits the trace stands; equal for all requests of it, by chance for one without any id."""
        found = trace_id(self._request.headers)
        if not found and (request_id := joined(self._request.headers, _REQUEST_ID)):
            # Envoys write their reasons for tracing into it, each its own (UuidRequestIdConfig.pack_trace_reason).
            found = request_id[:14] + request_id[15:]
        chance = self._exchange.trace_id % (1 << TRACE_ID_BITS) >> (TRACE_ID_BITS - PLACE_BITS)
        return _spread(found) if found else chance

    def _header(self, message: Message, name: str) -> bytes | None:
        if self._hiding is None:
            return joined(message.headers, name)
        hidden = [self._hiding.header(name, value) for each, value in message.headers if each == name]
        return b",".join(hidden) if hidden else None

    def _body(self, message: Message) -> bytes:
        if self._hiding is None or not message.body:
            return message.body
        found = self._bodies.get(id(message))
        if found is None:
            found = self._bodies[id(message)] = self._hidden_body(self._hiding, message)
        return found

    def _hidden_body(self, hiding: Hiding, message: Message) -> bytes:
        encoding = joined(message.headers, "content-encoding") or b"identity"
        if encoding.lower() != b"identity":
            # To open it takes long, and this is where nothing may.
            return _UNKNOWN
        content_type = joined(message.headers, "content-type") or b""
        return hiding.body(message.body, content_type, cut=self._exchange.truncated)

    def _path(self) -> bytes | None:
        path = self._header(self._request, ":path")
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

    def _json_holds(self, condition: Condition) -> bool:
        data = self._data(condition)
        if data is MISSING:
            return False
        found = found_at(data, condition.field.key or "")
        return any(value_holds(value, condition) for value in found)

    def _json_answer(self, condition: Condition) -> bool | None:
        data = self._data(condition)
        if data is MISSING:
            is_unread = self._is_too_large(condition) or self._is_cut(condition)
            return None if is_unread or self.is_redacted(condition) else False
        return _any(value_answers(data, steps(condition.field.key or ""), condition))

    def _data(self, condition: Condition) -> Any:
        name = condition.field.name
        if name not in self._json:
            (body,) = self._texts(condition)
            self._json[name] = MISSING if self._is_too_large(condition) else parsed(body or b"")
        return self._json[name]

    def _is_cut(self, condition: Condition) -> bool:
        """Whether there may have been JSON, of which the rest was not captured."""
        return self._exchange.truncated and any(
            _JSON_START.match(body or b"") for body in self._texts(condition)
        )

    def _is_too_large(self, condition: Condition) -> bool:
        return any(len(body or b"") > MAX_JSON_BYTES for body in self._texts(condition))


def joined(pairs: Pairs, name: str) -> bytes | None:
    """Return the values of the header *name* (lower case) joined by commas, as Envoy does; None without one."""
    values = [value for key, value in pairs if key == name]
    return b",".join(values) if values else None


def trace_id(headers: Pairs) -> bytes | None:
    """Return the trace id of W3C or B3 headers as 32 hexadecimal digits in lower case, None without one."""
    for name, pattern in _TRACE_HEADERS:
        found = pattern.match(joined(headers, name) or b"")
        if found:
            return found[1].lower().zfill(32)
    return None


def _spread(text: bytes) -> int:
    """Return a hash of 32 bits; all proxies must have the same, now and later: slot/predicate.lua has it, too."""
    found = 0
    for byte in text:
        found = (found * 65599 + byte) % (1 << PLACE_BITS)
    # By the golden ratio, so that numbers which follow each other spread evenly.
    return found * 0x9E3779B9 % (1 << PLACE_BITS)


def _int(value: Scalar) -> int:
    return int(value or 0)


_REQUEST_ID = "x-request-id"
# W3C Trace Context 3.2.1; B3 multiple and single headers.
_TRACE_HEADERS = (
    ("traceparent", re.compile(rb"[0-9a-fA-F]{2}-([0-9a-fA-F]{32})-")),
    ("x-b3-traceid", re.compile(rb"((?:[0-9a-fA-F]{16}){1,2})\Z")),
    ("b3", re.compile(rb"((?:[0-9a-fA-F]{16}){1,2})-")),
)
