"""Bodies as policies read them: strict, bounded, and never by an exception.

What one reader takes for the first of two members and another for the last, or for a number here and for nothing
there, decides nothing: it is unreadable.
"""

import json
import math
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

MAX_DEPTH = 32
MAX_BYTES = 1 << 20
_MAX_FIELDS = 1000
_MAX_DIGITS = 300


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a body can't be read, or something else not be known."""

    reason: str


class _RefusedError(ValueError):
    """Not strict JSON; the message says why."""


def read_json(body: bytes) -> object:
    """Return the value of *body* (RFC 8259), or an `Unreadable`.

    Refused beside what is no JSON: members that come twice, NaN and infinities, numbers of more than 300 digits,
    nesting deeper than 32, more than 1 MiB, and lone surrogates.
    """
    if len(body) > MAX_BYTES:
        return Unreadable("the body is larger than 1 MiB")
    try:
        text = body.decode()
        value: object = json.loads(
            text,
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
        if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep(value):
            return Unreadable(f"the JSON nests deeper than {MAX_DEPTH}")
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except _RefusedError as error:
        return Unreadable(str(error))
    except (ValueError, RecursionError):
        return Unreadable("the body is not JSON")
    return value


def _too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RefusedError("a member of the JSON comes twice")
    return members


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise _RefusedError("a number of the JSON has too many digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text) if len(text) <= _MAX_DIGITS else math.inf
    if not math.isfinite(value):
        raise _RefusedError("a number of the JSON is out of range")
    return value


def _constant(text: str) -> object:
    raise _RefusedError(f"{text} is not JSON")


def read_form(body: bytes) -> dict[str, list[str]] | Unreadable:
    """Return the values of each field of *body* (application/x-www-form-urlencoded), or an `Unreadable`."""
    if len(body) > MAX_BYTES:
        return Unreadable("the body is larger than 1 MiB")
    if b";" in body:
        return Unreadable("the form has a `;`, at which some readers part fields")
    parts = [part for part in body.replace(b"+", b" ").split(b"&") if part]
    if len(parts) > _MAX_FIELDS:
        return Unreadable(f"the form has more than {_MAX_FIELDS} fields")
    fields: dict[str, list[str]] = {}
    for part in parts:
        name, _, value = part.partition(b"=")
        try:
            fields.setdefault(unquote_to_bytes(name).decode(), []).append(unquote_to_bytes(value).decode())
        except UnicodeDecodeError:
            return Unreadable("the form is not UTF-8")
    return fields
