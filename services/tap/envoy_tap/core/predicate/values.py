"""The values of conditions: read from text, checked against what traffic can hold, and written back."""

import ipaddress
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache

import re2

from envoy_tap.core.predicate.fields import GRPC_CODES, Kind
from envoy_tap.core.predicate.jsonpath import steps
from envoy_tap.core.predicate.model import Field, Op, Scalar

MILLION = 1_000_000
MAX_FIRST = 1_000_000
_MAX_TEXT_CHARS = 1024
_MAX_LATENCY_US = 24 * 3600 * MILLION
_MAX_EXACT = 1 << 53
# Lua gives up on a pattern of 200 or so.
_MAX_SEGMENTS = 64
_STATUS = re.compile(r"[1-5][0-9]{2}|[1-5]xx")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m)")
_UNIT_US = {"us": 1, "ms": 1000, "s": MILLION, "m": 60 * MILLION}
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{16}|[0-9a-fA-F]{32}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = re.compile(r"[!-~]+")
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


class ValueProblem(Exception):  # noqa: N818 - it says what is wrong with a value, and becomes a PredicateError
    """Why a value cannot be compared with its field, and what would be right."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


def read_key(field: str, key: str) -> str:
    """Return *key* as `Field.key` holds it; raises ValueProblem."""
    if field.endswith("json"):
        try:
            steps(key)
        except ValueError as error:
            raise ValueProblem(str(error), "write it as order.items[0].id") from None
        return key
    if not _TOKEN.fullmatch(key):
        hint = "method, path and authority have fields of their own" if key.startswith(":") else ""
        raise ValueProblem(f"{key!r} is not a header name", hint)
    return key.lower()


def read_value(field: Field, kind: Kind, op: Op, text: str, *, quoted: bool) -> Scalar:
    """Return *text* as `Condition.value` holds it; raises ValueProblem."""
    if kind is Kind.STATUS:
        return _status(text, op)
    if kind is Kind.JSON and op is Op.EQUALS and not quoted:
        return _json(text)
    read = _READERS.get(kind)
    return _text(field, op, text) if read is None else read(text)


def written(kind: Kind, value: Scalar) -> str:
    """Return *value* as `read_value` reads it."""
    match kind:
        case Kind.STATUS | Kind.ADDRESS | Kind.TRACE_ID | Kind.FIRST:
            return str(value)
        case Kind.GRPC_STATUS:
            return GRPC_CODES[int(value or 0)]
        case Kind.DURATION:
            return _written_us(int(value or 0))
        case Kind.SAMPLE:
            whole, part = divmod(int(value or 0), MILLION // 100)
            return f"{whole}.{part:04d}".rstrip("0").rstrip(".") + "%"
        case Kind.JSON if not isinstance(value, str):
            return json.dumps(value)
        case _:
            return quoted_text(str(value))


def quoted_text(text: str) -> str:
    """Return *text* in double quotes, so that the scanner reads exactly it."""
    for plain, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(plain, escape)
    return f'"{text}"'


@lru_cache(maxsize=256)
def regex(pattern: str) -> "re2._Regexp":
    """Return *pattern* compiled, over bytes; RE2, as in Envoy: its time is linear in the text's length."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    return re2.compile(pattern.encode(), options)


def any_case(pattern: str) -> str:
    """Return the regular expression *pattern* so that it disregards case."""
    return f"(?i){pattern}"


def _status(text: str, op: Op) -> Scalar:
    if not _STATUS.fullmatch(text):
        raise ValueProblem(f"{text!r} is not a status", "write one of three digits, or a class such as 5xx")
    if not text.endswith("xx"):
        return int(text)
    if op is not Op.EQUALS:
        raise ValueProblem(f"a class can only be compared by =, not by {op}", f"write {op} {text[0]}00")
    return text


def _grpc_status(text: str) -> int:
    if text in GRPC_CODES:
        return GRPC_CODES.index(text)
    if text.isascii() and text.isdigit() and int(text[:4]) < len(GRPC_CODES):
        return int(text)
    raise ValueProblem(f"{text!r} is not a gRPC status", "write UNAVAILABLE, or its number from 0 to 16")


def _duration_us(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if not found or len(text) > len("86400000000.000000us"):
        raise ValueProblem(f"{text!r} is not a duration", "write 250ms, 1.5s, 90us or 2m")
    duration_us = round(float(found[1]) * _UNIT_US[found[2]])
    if duration_us > _MAX_LATENCY_US:
        raise ValueProblem(f"{text!r} is longer than a day")
    return duration_us


def _written_us(duration_us: int) -> str:
    for unit in ("s", "ms"):
        if duration_us % _UNIT_US[unit] == 0:
            return f"{duration_us // _UNIT_US[unit]}{unit}"
    return f"{duration_us}us"


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueProblem(
            f"{text!r} is not an address", "write 10.1.2.3, 10.0.0.0/8 or 2001:db8::/32"
        ) from None
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def _trace_id(text: str) -> str:
    if not _TRACE_ID.fullmatch(text):
        raise ValueProblem(
            f"{text!r} is not a trace id", "it has 32 hexadecimal digits, or 16 as in old B3 headers"
        )
    return text.lower().zfill(32)


def _sample(text: str) -> int:
    found = _PERCENT.fullmatch(text)
    parts = round(float(found[1]) * MILLION / 100) if found and len(text) < len("100.0000000%") else 0
    if not 0 < parts <= MILLION:
        raise ValueProblem(f"{text!r} is not a rate", "write 1% or 0.05%; above 0, at most 100%")
    return parts


def _first(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < len(str(MAX_FIRST * 10)) else 0
    if not 0 < number <= MAX_FIRST:
        raise ValueProblem(f"{text!r} is not a count", f"write a number from 1 to {MAX_FIRST}")
    return number


def _json(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    found = _NUMBER.fullmatch(text)
    if not found:
        return _plain(text)
    number = (
        float(text) if found[1] or found[2] else int(text) if len(text) < len(str(_MAX_EXACT)) else math.inf
    )
    if abs(number) > _MAX_EXACT:
        raise ValueProblem(f"{text!r} is too large", "put it in quotes if the field is text")
    return number


def _plain(text: str) -> str:
    if not text:
        raise ValueProblem("this text is empty")
    if len(text) > _MAX_TEXT_CHARS:
        raise ValueProblem(f"this text has {len(text)} characters; {_MAX_TEXT_CHARS} is the most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueProblem("this holds half a character (a lone surrogate), which is no text") from None
    return text


def _text(field: Field, op: Op, text: str) -> str:
    # Only a header or a JSON field can be there and be empty.
    if op is Op.EQUALS and not text and field.key is not None:
        return text
    _plain(text)
    if op is Op.MATCHES:
        try:
            regex(text)
        except re2.error as error:
            said = error.args[0].decode(errors="replace") if error.args else "it cannot be read"
            hint = "RE2 syntax, as in Envoy: no look-around and no back-references"
            raise ValueProblem(f"{text!r} is not a regular expression: {said}", hint) from None
        return text
    if field.key is not None and not field.name.endswith("json") and re.search(r"[\0\r\n]", text):
        raise ValueProblem("this holds a character that no header can hold")
    _check_special(field, op, text)
    return text


def _check_special(field: Field, op: Op, text: str) -> None:
    if field.name == "method" and not _TOKEN.fullmatch(text):
        raise ValueProblem(f"{text!r} is not a method", "such as GET; methods are case-sensitive")
    if field.name == "authority" and not _VISIBLE.fullmatch(text):
        raise ValueProblem(f"{text!r} is not an authority", "a host, and a port if the client sends one")
    if field.name == "grpc.method" and text.startswith("/"):
        raise ValueProblem(f"{text!r} is not a gRPC method", f"write package.Service/Method: {text[1:]}")
    if field.name == "path":
        _check_path(op, text)


def _check_path(op: Op, text: str) -> None:
    if op is not Op.CONTAINS and not text.startswith("/"):
        raise ValueProblem(f"{text!r} is not a path", "one begins with /")
    if "?" in text:
        raise ValueProblem(
            f"{text!r} is not a path", "a path is compared without its query: leave out ? and what follows"
        )
    if not _VISIBLE.fullmatch(text):
        raise ValueProblem(f"{text!r} is not a path", "percent-encode what is not visible ASCII")
    if op is Op.LIKE:
        template(text)


def template(text: str) -> tuple[str, ...]:
    """Return the segments of a path template: literal text, `*` for one segment, and `**` at the end for any.

    `{name}` is `*`. Raises ValueProblem.
    """
    found: list[str] = []
    segments = text.split("/")[1:]
    if len(segments) > _MAX_SEGMENTS:
        raise ValueProblem(f"a template has {_MAX_SEGMENTS} segments at most, this has {len(segments)}")
    for place, segment in enumerate(segments):
        is_last = place == len(segments) - 1
        if segment == "*" or re.fullmatch(r"\{[^{}*/]+\}", segment):
            found.append("*")
        elif segment == "**" and is_last:
            found.append("**")
        elif "*" in segment or "{" in segment or "}" in segment:
            hint = "a segment is text, {name} or *; the last one may be **, for any number of them"
            raise ValueProblem(f"{segment!r} is not a segment of a template", hint)
        else:
            found.append(segment)
    return tuple(found)


_READERS: dict[Kind, Callable[[str], Scalar]] = {
    Kind.GRPC_STATUS: _grpc_status,
    Kind.DURATION: _duration_us,
    Kind.ADDRESS: _network,
    Kind.TRACE_ID: _trace_id,
    Kind.SAMPLE: _sample,
    Kind.FIRST: _first,
}
