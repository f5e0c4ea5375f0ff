"""Between JSON and the messages of ShouldRateLimit: for the admin's `/json`, and for the commands that ask a service."""

from collections.abc import Iterable

from google.protobuf.json_format import MessageToDict, MessageToJson, Parse, ParseError
from google.protobuf.message import DecodeError

from envoy_ratelimit.core.rule import Entry, Rate
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse

OVER_LIMIT = "OVER_LIMIT"


def request_from_json(text: str | bytes) -> bytes:
    """Return the serialized RateLimitRequest that *text* is, in protobuf's JSON form. Raises ValueError."""
    try:
        message = Parse(text, RateLimitRequest())
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"this is not a RateLimitRequest as JSON: {error}") from None
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
