"""Between Envoy's messages and the core's types: the one module here that imports generated code.

Requests are parsed by protobuf. Responses are put together from ready-made pieces, for most of a response is the same
for each answer of a rule; a test holds them against Envoy's own definition. Measured for two descriptors on one core:
0.5 µs so, against 2.6 µs by filling in a message.
"""

from collections.abc import Sequence

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

from envoy_ratelimit.core import response
from envoy_ratelimit.core.limiter import Answer, Hits, Plan, Request, Verdict
from envoy_ratelimit.core.response import STATUSES_ALONE, ResponseOptions
from envoy_ratelimit.core.rule import Rate, Rule, Unit
from envoy_ratelimit.core.token_bucket import MICROSECONDS
from envoy_sidecar.pb.ratelimit_pb2 import (
    RateLimitDescriptor,
    RateLimitRequest,
    RateLimitResponse,
    RawRateLimitRequest,
)

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
METHOD = "ShouldRateLimit"
MAX_HITS = 2**32
"""No cost may be above this: it is over what any limit holds."""
MAX_DESCRIPTORS = 1000
"""No request may have more descriptors: all others would wait for it."""
MAX_ENTRIES = 100
"""No descriptor may have more entries, for the same reason."""

_parse = RateLimitRequest.FromString
OVERRIDE_UNITS = {int(unit): unit for unit in Unit if unit is not Unit.WEEK}
"""The units that a limit in a request may have, by their numbers."""


class InvalidRequestError(Exception):
    """The request cannot be decided; the message names the field and goes to the caller."""


def read_request(payload: bytes) -> Request:
    r"""Turn a serialized RateLimitRequest into a core request. Raises InvalidRequestError.

    A byte that is no UTF-8 becomes four characters, `\xff`.
    """
    try:
        message = _parse(payload)
    except DecodeError:
        message = _parse_as_bytes(payload)
    domain = message.domain
    if not domain:
        raise InvalidRequestError("domain: it must not be empty")
    hits = message.hits_addend
    descriptors: list[Hits] = []
    # Iterating over a slice, or not at all, takes half the time: protobuf ends an iteration by an exception.
    for descriptor in _some_descriptors(message):
        found = descriptor.entries
        if len(found) == 1:
            entry = found[0]
            entries = [(entry.key, entry.value)]
        else:
            _check_entries(len(found), len(descriptors))
            entries = [(entry.key, entry.value) for entry in found[:]]
        own_hits = None
        override = None
        if descriptor.HasField("hits_addend"):
            own_hits = descriptor.hits_addend.value
            if own_hits > MAX_HITS:
                raise InvalidRequestError(
                    f"descriptors[{len(descriptors)}].hits_addend: {own_hits} is more than {MAX_HITS}"
                )
        if descriptor.is_negative_hits:
            own_hits = -(own_hits if own_hits is not None else hits or 1)
        if descriptor.HasField("limit"):
            override = _override(descriptor, len(descriptors))
        descriptors.append((entries, own_hits, override))
    return domain, descriptors, hits


def _some_descriptors(message: RateLimitRequest) -> Sequence[RateLimitDescriptor]:
    # No more of them than are looked at: to make a million takes protobuf seconds, in which nobody else is answered.
    found = message.descriptors[: MAX_DESCRIPTORS + 1]
    if not 0 < len(found) <= MAX_DESCRIPTORS:
        _check_number(len(message.descriptors))
    return found


def _check_number(descriptors: int) -> None:
    if not 0 < descriptors <= MAX_DESCRIPTORS:
        problem = (
            f"{descriptors} are more than {MAX_DESCRIPTORS}" if descriptors else "at least one is needed"
        )
        raise InvalidRequestError(f"descriptors: {problem}")


def _check_entries(entries: int, position: int) -> None:
    if entries > MAX_ENTRIES:
        raise InvalidRequestError(f"descriptors[{position}].entries: {entries} are more than {MAX_ENTRIES}")


def _parse_as_bytes(payload: bytes) -> RateLimitRequest:
    """Parse a request of which a text is not UTF-8.

    Any client can bring that about by one byte in a header, and a request that is refused here passes every limit
    where Envoy fails open.
    """
    try:
        raw = RawRateLimitRequest.FromString(payload)
        _check_number(len(raw.descriptors))
        raw.domain = _as_utf8(raw.domain)
        for position, descriptor in enumerate(raw.descriptors):
            _check_entries(len(descriptor.entries), position)
            for entry in descriptor.entries:
                entry.key, entry.value = _as_utf8(entry.key), _as_utf8(entry.value)
        return _parse(raw.SerializeToString())
    except DecodeError:
        raise InvalidRequestError("this is not a RateLimitRequest: it is cut short or malformed") from None


def _as_utf8(text: bytes) -> bytes:
    return text.decode("utf-8", "backslashreplace").encode()


def _override(descriptor: RateLimitDescriptor, position: int) -> Rate:
    unit = OVERRIDE_UNITS.get(descriptor.limit.unit)
    if unit is None:
        names = ", ".join(unit.name for unit in OVERRIDE_UNITS.values())
        raise InvalidRequestError(
            f"descriptors[{position}].limit.unit: {descriptor.limit.unit} is not one of {names}"
        )
    return Rate(descriptor.limit.requests_per_unit, unit)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits of a number in each byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(tag: int, body: bytes) -> bytes:
    """Return a length-delimited field; *tag* is its number x 8 + 2."""
    return bytes((tag,)) + _varint(len(body)) + body


def _remaining(tokens: int) -> bytes:
    return b"\x18" + _varint(tokens) if tokens else b""


def _reset(seconds: int) -> bytes:
    return _field(0x22, b"\x08" + _varint(seconds) if seconds else b"")


_READY = 4096
_REMAINING = [_remaining(tokens) for tokens in range(_READY)]
_RESET = [_reset(seconds) for seconds in range(_READY)]
_STATUS = [b"\x12" + _varint(length) for length in range(_READY)]
_OVERALL = (b"\x08\x01", b"\x08\x02")
_LAST_COUNTED = Verdict.OVER_QUOTA
_BARE_OK = _field(0x12, b"\x08\x01")
_MAX_HEADS = 200_000


class Encoder:
    """Turns answers into serialized RateLimitResponses, remembering the constant part of each rule's statuses.

    A status has no `duration_until_reset` where waiting does not help: at a ban, and at a cost above the limit. It is
    in whole seconds, rounded up, for Envoy cuts it to whole seconds. An unlimited rule and one that the store could
    not decide have no `current_limit`, so Envoy makes no headers of them. A limit for other than one whole unit has
    the unit UNKNOWN.
    """

    def __init__(self, options: ResponseOptions = STATUSES_ALONE) -> None:
        self._heads: dict[Rule, tuple[bytes, ...]] = {}
        self._options = None if options.plain else options

    def encode(self, answer: Answer, plan: Plan | None = None) -> bytes:
        """Return the serialized RateLimitResponse of *answer*; dynamic metadata is made of the *plan* it had."""
        over, statuses = answer
        heads = self._heads
        pieces = [_OVERALL[over]]
        for status in statuses:
            if status is None:
                pieces.append(_BARE_OK)
                continue
            rule, verdict, remaining, reset_us = status
            head = (heads.get(rule) or self._prepare(rule))[verdict]
            tokens = _REMAINING[remaining] if remaining < _READY else _remaining(remaining)
            if reset_us is None or verdict > _LAST_COUNTED:
                body = head + tokens
            else:
                seconds = -(-reset_us // MICROSECONDS)
                body = head + tokens + (_RESET[seconds] if seconds < _READY else _reset(seconds))
            length = len(body)
            pieces.append(_STATUS[length] if length < _READY else b"\x12" + _varint(length))
            pieces.append(body)
        if self._options is not None:
            pieces.append(_extras(self._options, answer, plan))
        return b"".join(pieces)

    def _prepare(self, rule: Rule) -> tuple[bytes, ...]:
        """Make the beginnings of a rule's statuses, one for each verdict."""
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        limit = b""
        if rule.rate is not None:
            unit = rule.rate.whole_unit
            message = RateLimitResponse.RateLimit(
                requests_per_unit=rule.rate.requests_per_unit,
                unit=unit.name if unit is not None else "UNKNOWN",
                name=rule.name,
            )
            limit = _field(0x12, message.SerializeToString())
        passed, refused = _OVERALL
        heads = {
            Verdict.OK: passed + limit,
            Verdict.OVER_LIMIT: refused + limit,
            Verdict.SHADOWED: (refused if rule.shadowed_by_service else passed) + limit,
            Verdict.OVER_QUOTA: refused + limit,
            Verdict.UNLIMITED: passed,
            Verdict.FAILED_OPEN: passed,
            Verdict.FAILED_CLOSED: refused,
            Verdict.REPLACED: passed,
        }
        self._heads[rule] = ready = tuple(heads[verdict] for verdict in Verdict)
        return ready


def _extras(options: ResponseOptions, answer: Answer, plan: Plan | None) -> bytes:
    """Return the fields after the statuses: response_headers_to_add, raw_body and dynamic_metadata."""
    message = RateLimitResponse()
    refused = answer[0]
    if options.headers is not None:
        for key, value in response.header_values(answer, options.headers):
            message.response_headers_to_add.add(key=key, value=value)
    if options.body == "problem" and refused:
        message.response_headers_to_add.add(key="content-type", value=response.PROBLEM_TYPE)
        message.raw_body = response.problem(answer)
    if options.dynamic_metadata and plan is not None:
        ParseDict(response.metadata(plan, answer), message.dynamic_metadata)
    return message.SerializeToString()
