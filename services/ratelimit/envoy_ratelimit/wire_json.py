"""Between JSON and the messages of ShouldRateLimit: for the admin's `/json`, and for the commands that ask a service."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, MessageToJson, Parse, ParseDict, ParseError
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from envoy_ratelimit.core.rule import Entry, Rate
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse

OVER_LIMIT = "OVER_LIMIT"
_EXAMPLE = '{"domain": "…", "descriptors": [{"entries": [{"key": "…", "value": "…"}]}]}'
_MAX_SHOWN = 40
_VALUES: Mapping[int | str, str] = {
    FieldDescriptor.TYPE_STRING: "a text",
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_UINT32: f"a whole number from 0 to {2**32 - 1}",
    "google.protobuf.UInt64Value": f"a whole number from 0 to {2**64 - 1}",
}
"""What is right for a field, by its type; of a message that is one value, by its name."""


def request_from_json(text: str | bytes) -> bytes:
    """Return the serialized RateLimitRequest that *text* is, in protobuf's JSON form.

    Raises ValueError, which says where it is not, and what would be right.
    """
    try:
        message = Parse(text, RateLimitRequest())
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"this is not a RateLimitRequest as JSON: {_fault(text) or error}") from None
    return message.SerializeToString()


def request_as_json(payload: bytes) -> str:
    """Return a serialized RateLimitRequest in protobuf's JSON form."""
    return MessageToJson(RateLimitRequest.FromString(payload))


def make_request(
    domain: str,
    descriptors: Iterable[Iterable[Entry]],
    *,
    hits: int | None = None,
    override: Rate | None = None,
) -> bytes:
    """Return a serialized RateLimitRequest.

    *hits* is the cost of each descriptor: 0 peeks, None leaves it open. *override* is a limit that each brings along.
    """
    message = RateLimitRequest(domain=domain)
    for entries in descriptors:
        descriptor = message.descriptors.add()
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
        if hits is not None:
            descriptor.hits_addend.value = hits
        if override is not None:
            limit = RateLimitDescriptor.RateLimitOverride(
                requests_per_unit=override.requests_per_unit, unit=override.unit.name
            )
            descriptor.limit.CopyFrom(limit)
    return message.SerializeToString()


def response_as_data(payload: bytes) -> dict[str, object]:
    """Return a serialized RateLimitResponse in protobuf's JSON form. Raises ValueError."""
    try:
        message = RateLimitResponse.FromString(payload)
    except DecodeError:
        raise ValueError("this is not a RateLimitResponse") from None
    data: dict[str, object] = MessageToDict(message)
    return data


def _fault(text: str | bytes) -> str:
    """Return what is wrong with *text*, which protobuf refuses in words of its own; empty if that is not found."""
    try:
        data = json.loads(text if isinstance(text, str) else text.decode(), object_pairs_hook=_once)
        # For mypy it may be another class, which is the same.
        return _fault_in(data, cast("Descriptor", RateLimitRequest.DESCRIPTOR), "")
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not UTF-8"
    except json.JSONDecodeError as error:
        return f"line {error.lineno}, column {error.colno}: {error.msg}; write {_EXAMPLE}"
    except RecursionError:
        return f"it is nested too deep; write {_EXAMPLE}"
    except _TwiceError as error:
        return f"the key {_shown(str(error))} comes twice in one object; write it once"
    except ValueError:
        return "a number has too many digits"


class _TwiceError(Exception):
    """A key of an object comes twice."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(key)
        found[key] = value
    return found


def _fault_in(data: object, kind: Descriptor, path: str) -> str:
    """Return what is wrong with *data* as a message of this *kind*; empty if that is not found."""
    at = f"{path}: " if path else ""
    fields = _fields(kind)
    if not isinstance(data, dict):
        right = f"an object of {', '.join(field.json_name for field in kind.fields)}"
        return f"{at}{_shown(data)} is not right; write {right if path else _EXAMPLE}"
    for key, value in data.items():
        field = fields.get(key)
        if field is None:
            known = ", ".join(field.json_name for field in kind.fields)
            return f"{at}unknown key {_shown(key)}; write one of {known}"
        if value is not None and (fault := _fault_of(value, field, kind, f"{path}.{key}" if path else key)):
            return fault
    return ""


@cache
def _fields(kind: Descriptor) -> Mapping[str, FieldDescriptor]:
    return {name: field for field in kind.fields for name in (field.json_name, field.name)}


def _fault_of(value: object, field: FieldDescriptor, kind: Descriptor, path: str) -> str:
    message = field.message_type
    if field.is_repeated and message is not None:
        if not isinstance(value, list):
            return f"{path}: {_shown(value)} is not right; write a list"
        found = (_fault_in(item, message, f"{path}[{place}]") for place, item in enumerate(value))
        return next(filter(None, found), "")
    if message is not None and message.full_name not in _VALUES:
        return _fault_in(value, message, path)
    if field.type == FieldDescriptor.TYPE_STRING and isinstance(value, str) and value.isascii():
        return ""  # most are, and protobuf takes its time
    try:
        ParseDict({field.name: value}, GetMessageClass(kind)())
    except ParseError:
        return f"{path}: {_shown(value)} is not right; write {_right(field)}"
    return ""


def _right(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return f"one of {', '.join(value.name for value in field.enum_type.values)}"
    return _VALUES[field.type if field.message_type is None else field.message_type.full_name]


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
