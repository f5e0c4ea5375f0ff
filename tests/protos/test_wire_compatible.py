"""Our minimal schema is wire-compatible with Envoy's: held field by field against `envoy-data-plane`."""

import dataclasses
import enum
import importlib
from collections.abc import Iterator
from typing import Any

import betterproto2
import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from envoy_sidecar.pb import authz_pb2, common_pb2, ext_proc_pb2, ratelimit_pb2, tap_pb2

CORE = "envoy.config.core.v3"
AUTH = "envoy.service.auth.v3"
LIMIT = "envoy.service.ratelimit.v3"
COMMON_LIMIT = "envoy.extensions.common.ratelimit.v3"
TAP = "envoy.service.tap.v3"
TRACE = "envoy.data.tap.v3"
PROC = "envoy.service.ext_proc.v3"

# Our message (without package) -> where Envoy defines it, and its name there.
NAMESAKES = {
    "HeaderValue": (CORE, "HeaderValue"),
    "HeaderMap": (CORE, "HeaderMap"),
    "HeaderValueOption": (CORE, "HeaderValueOption"),
    "SocketAddress": (CORE, "SocketAddress"),
    "Pipe": (CORE, "Pipe"),
    "Address": (CORE, "Address"),
    "Metadata": (CORE, "Metadata"),
    "Locality": (CORE, "Locality"),
    "Node": (CORE, "Node"),
    "Status": ("google.rpc", "Status"),
    "CheckRequest": (AUTH, "CheckRequest"),
    "AttributeContext": (AUTH, "AttributeContext"),
    "AttributeContext.Peer": (AUTH, "AttributeContextPeer"),
    "AttributeContext.Request": (AUTH, "AttributeContextRequest"),
    "AttributeContext.HttpRequest": (AUTH, "AttributeContextHttpRequest"),
    "AttributeContext.TlsSession": (AUTH, "AttributeContextTlsSession"),
    "HttpStatus": ("envoy.type.v3", "HttpStatus"),
    "QueryParameter": (CORE, "QueryParameter"),
    "DeniedHttpResponse": (AUTH, "DeniedHttpResponse"),
    "OkHttpResponse": (AUTH, "OkHttpResponse"),
    "CheckResponse": (AUTH, "CheckResponse"),
    "RateLimitDescriptor": (COMMON_LIMIT, "RateLimitDescriptor"),
    "RateLimitDescriptor.Entry": (COMMON_LIMIT, "RateLimitDescriptorEntry"),
    "RateLimitDescriptor.RateLimitOverride": (COMMON_LIMIT, "RateLimitDescriptorRateLimitOverride"),
    "RateLimitRequest": (LIMIT, "RateLimitRequest"),
    "RateLimitResponse": (LIMIT, "RateLimitResponse"),
    "RateLimitResponse.RateLimit": (LIMIT, "RateLimitResponseRateLimit"),
    "RateLimitResponse.DescriptorStatus": (LIMIT, "RateLimitResponseDescriptorStatus"),
    "StreamTapsRequest": (TAP, "StreamTapsRequest"),
    "StreamTapsRequest.Identifier": (TAP, "StreamTapsRequestIdentifier"),
    "StreamTapsResponse": (TAP, "StreamTapsResponse"),
    "TraceWrapper": (TRACE, "TraceWrapper"),
    "Body": (TRACE, "Body"),
    "Connection": (TRACE, "Connection"),
    "HttpBufferedTrace": (TRACE, "HttpBufferedTrace"),
    "HttpBufferedTrace.Message": (TRACE, "HttpBufferedTraceMessage"),
    "HttpStreamedTraceSegment": (TRACE, "HttpStreamedTraceSegment"),
    "SocketEvent": (TRACE, "SocketEvent"),
    "SocketEvent.Read": (TRACE, "SocketEventRead"),
    "SocketEvent.Write": (TRACE, "SocketEventWrite"),
    "SocketEvent.Closed": (TRACE, "SocketEventClosed"),
    "SocketEvents": (TRACE, "SocketEvents"),
    "SocketBufferedTrace": (TRACE, "SocketBufferedTrace"),
    "SocketStreamedTraceSegment": (TRACE, "SocketStreamedTraceSegment"),
    "HttpHeaders": (PROC, "HttpHeaders"),
    "HttpBody": (PROC, "HttpBody"),
    "HttpTrailers": (PROC, "HttpTrailers"),
    "ProcessingRequest": (PROC, "ProcessingRequest"),
}
ENUM_NAMESAKES = {
    "HeaderValueOption.HeaderAppendAction": (CORE, "HeaderValueOptionHeaderAppendAction"),
    "HttpStatus.Code": ("envoy.type.v3", "StatusCode"),
    "RateLimitDescriptor.Unit": ("envoy.type.v3", "RateLimitUnit"),
    "RateLimitResponse.Code": (LIMIT, "RateLimitResponseCode"),
    "RateLimitResponse.RateLimit.Unit": (LIMIT, "RateLimitResponseRateLimitUnit"),
}
# Ours alone: a message with bytes where its namesake has texts.
RAW = {
    "RawRateLimitRequest": "RateLimitRequest",
    "RawRateLimitDescriptor": "RateLimitDescriptor",
    "RawRateLimitDescriptor.Entry": "RateLimitDescriptor.Entry",
}
# Ours alone: a frame around Envoy's messages.
FRAMES = {"TakeTapsRequest"}
PACKAGE = common_pb2.DESCRIPTOR.package + "."
TYPE_NAMES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def every_message() -> Iterator[Descriptor]:
    def walk(message: Descriptor) -> Iterator[Descriptor]:
        if not message.GetOptions().map_entry:
            yield message
            for nested in message.nested_types:
                yield from walk(nested)

    for module in (common_pb2, authz_pb2, ext_proc_pb2, ratelimit_pb2, tap_pb2):
        for message in module.DESCRIPTOR.message_types_by_name.values():
            yield from walk(message)


def our_messages() -> Iterator[Descriptor]:
    return (message for message in every_message() if short(message) not in RAW.keys() | FRAMES)


def our_enums() -> Iterator[EnumDescriptor]:
    for message in our_messages():
        yield from message.enum_types


def short(descriptor: Descriptor | EnumDescriptor) -> str:
    return descriptor.full_name.removeprefix(PACKAGE)


def envoy_class(where: tuple[str, str]) -> Any:
    return getattr(importlib.import_module(f"envoy_data_plane.{where[0]}"), where[1])


def envoy_fields(message: Descriptor) -> dict[str, Any]:
    cls = envoy_class(NAMESAKES[short(message)])
    return {field.name: field.metadata["betterproto"] for field in dataclasses.fields(cls)}


def map_entry(field: FieldDescriptor) -> Descriptor | None:
    """Return the synthetic key/value message of a map field; None for any other field."""
    entry = field.message_type
    return entry if entry is not None and entry.GetOptions().map_entry else None


def every_field() -> list[Any]:
    return [
        pytest.param(field, id=f"{short(message)}.{field.name}")
        for message in our_messages()
        for field in message.fields
    ]


@pytest.mark.parametrize("field", every_field())
def test_field_has_envoys_number_type_label_and_oneof(field: FieldDescriptor) -> None:
    assert field.containing_type is not None
    theirs = envoy_fields(field.containing_type)[field.name]
    assert field.number == theirs.number
    if (entry := map_entry(field)) is not None:
        assert theirs.proto_type == "map"
        key, value = entry.fields
        assert TYPE_NAMES[key.type] == theirs.map_meta[0].proto_type
        assert TYPE_NAMES[value.type] == theirs.map_meta[1].proto_type
    else:
        assert TYPE_NAMES[field.type] == theirs.proto_type
        assert field.is_repeated == theirs.repeated
    oneof = field.containing_oneof.name if field.containing_oneof else None
    assert oneof == theirs.group


@pytest.mark.parametrize("descriptor", [pytest.param(d, id=short(d)) for d in our_enums()])
def test_enum_values_are_envoys(descriptor: EnumDescriptor) -> None:
    theirs: type[enum.IntEnum] = envoy_class(ENUM_NAMESAKES[short(descriptor)])
    numbers = {int(member) for member in theirs}
    assert {value.number for value in descriptor.values} <= numbers


@pytest.mark.parametrize("message", [pytest.param(m, id=short(m)) for m in our_messages()])
def test_a_message_field_holds_envoys_type(message: Descriptor) -> None:
    """Equal numbers would not help if a sub-message were of another kind; its namesake must be the declared one."""
    envoy_class(NAMESAKES[short(message)])
    for field in message.fields:
        if field.message_type is not None and map_entry(field) is None:
            ours = field.message_type
            assert ours.full_name.startswith("google.protobuf.") or short(ours) in NAMESAKES


@pytest.mark.parametrize(("raw", "name"), RAW.items())
def test_a_raw_message_has_its_namesakes_fields_with_bytes_for_texts(raw: str, name: str) -> None:
    ours = {short(message): message for message in every_message()}

    def shape(message: Descriptor) -> list[tuple[object, ...]]:
        return [
            (
                field.name,
                field.number,
                field.is_repeated,
                TYPE_NAMES[field.type].replace("string", "bytes"),
                field.message_type and RAW.get(short(field.message_type), short(field.message_type)),
            )
            for field in message.fields
        ]

    assert shape(ours[raw]) == shape(ours[name])


SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.text(max_size=12),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=12),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
}


def fill(draw: st.DrawFn, message: Message, depth: int = 0) -> None:
    """Set a random subset of the fields of *message*; well-known types get values that Envoy can send."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Struct":
        message.update({"k": draw(st.text(max_size=5)), "n": 1.5, "l": [True, None]})  # type: ignore[attr-defined]
    elif name in {"google.protobuf.Timestamp", "google.protobuf.Duration"}:
        message.seconds = draw(st.integers(0, 2**31))  # type: ignore[attr-defined]
        message.nanos = 1000 * draw(st.integers(0, 999_999))  # type: ignore[attr-defined]
    elif depth <= 5:
        for field in message.DESCRIPTOR.fields:
            if draw(st.booleans()):
                fill_field(draw, message, field, depth)


def fill_field(draw: st.DrawFn, message: Message, field: Any, depth: int) -> None:
    target = getattr(message, field.name)
    if (entry := map_entry(field)) is not None:
        key = draw(st.text(max_size=5))
        if entry.fields[1].message_type is None:
            target[key] = draw(st.text(max_size=5))
        else:
            fill(draw, target[key], depth + 1)
    elif field.message_type is not None and field.is_repeated:
        fill(draw, target.add(), depth + 1)
    elif field.message_type is not None:
        fill(draw, target, depth + 1)
        target.SetInParent()
    elif field.enum_type is not None:
        setattr(message, field.name, draw(st.sampled_from(list(field.enum_type.values))).number)
    elif field.is_repeated:
        target.append(draw(SCALARS[field.type]))
    else:
        setattr(message, field.name, draw(SCALARS[field.type]))


@st.composite
def messages(draw: st.DrawFn, cls: type[Message]) -> Message:
    message = cls()
    fill(draw, message)
    return message


ROOTS = {
    cls.DESCRIPTOR.name: cls
    for cls in (
        authz_pb2.CheckRequest,
        authz_pb2.CheckResponse,
        ratelimit_pb2.RateLimitRequest,
        ratelimit_pb2.RateLimitResponse,
        tap_pb2.StreamTapsRequest,
    )
}


@pytest.mark.parametrize("name", ROOTS)
@given(data=st.data())
def test_a_random_message_survives_the_trip_through_envoys_classes(name: str, data: st.DataObject) -> None:
    ours = data.draw(messages(ROOTS[name]))
    theirs: betterproto2.Message = envoy_class(NAMESAKES[name]).parse(ours.SerializeToString())
    assert not theirs._unknown_fields
    back = ROOTS[name].FromString(bytes(theirs))
    assert back == ours
