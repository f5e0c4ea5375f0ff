"""The wire adapter of ext_proc: ProcessingRequest bytes (envoy.service.ext_proc.v3) to what the processor reads."""

from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from envoy_sidecar.pb import common_pb2, ext_proc_pb2
from envoy_tap.core.events import Kind, Side
from envoy_tap.core.exchange import Pairs

# More than any Envoy lets through.
_MAX_PAIRS = 4096
_MAX_CHARS = 1024

_PARTS = {
    "request_headers": (Side.REQUEST, Kind.HEADERS),
    "request_body": (Side.REQUEST, Kind.BODY),
    "request_trailers": (Side.REQUEST, Kind.TRAILERS),
    "response_headers": (Side.RESPONSE, Kind.HEADERS),
    "response_body": (Side.RESPONSE, Kind.BODY),
    "response_trailers": (Side.RESPONSE, Kind.TRAILERS),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One message: `pairs` of headers or trailers, or the `data` of a body; `ends` the half if nothing follows.

    `attributes` are those that were asked for and known, by name (`source.address`).
    """

    side: Side
    kind: Kind
    pairs: Pairs = ()
    data: bytes = b""
    ends: bool = False
    attributes: dict[str, str] = field(default_factory=dict)


def decoded(payload: bytes) -> Part | None:
    """Return the part in *payload*; None if there is none that can be read."""
    try:
        request = ext_proc_pb2.ProcessingRequest.FromString(payload)
    except DecodeError:
        return None
    which = request.WhichOneof("request")
    if which is None:
        return None
    side, kind = _PARTS[which]
    attributes = _attributes(request)
    if kind is Kind.HEADERS:
        headers: ext_proc_pb2.HttpHeaders = getattr(request, which)
        return Part(side, kind, _pairs(headers.headers), ends=headers.end_of_stream, attributes=attributes)
    if kind is Kind.BODY:
        body: ext_proc_pb2.HttpBody = getattr(request, which)
        return Part(side, kind, data=body.body, ends=body.end_of_stream, attributes=attributes)
    trailers: ext_proc_pb2.HttpTrailers = getattr(request, which)
    return Part(side, kind, _pairs(trailers.trailers), ends=True, attributes=attributes)


def _pairs(headers: common_pb2.HeaderMap) -> Pairs:
    return tuple((each.key, each.raw_value or each.value.encode()) for each in headers.headers[:_MAX_PAIRS])


def _attributes(request: ext_proc_pb2.ProcessingRequest) -> dict[str, str]:
    found: dict[str, str] = {}
    for struct in request.attributes.values():
        found |= {name[:_MAX_CHARS]: _text(value)[:_MAX_CHARS] for name, value in struct.fields.items()}
    return found


def _text(value: Value) -> str:
    if value.WhichOneof("kind") == "number_value":
        return f"{value.number_value:.0f}"
    return value.string_value
