"""What can be asked about an exchange: the fields, how each may be compared, and what is seen early."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from envoy_tap.core.predicate.model import Condition, Field, Op


class Kind(Enum):
    """What a field's value is, and how `Condition.value` holds what it is compared with."""

    TEXT = auto()  # str
    STATUS = auto()  # int, or str for a class ("5xx")
    GRPC_STATUS = auto()  # int, 0 to 16
    DURATION = auto()  # int, microseconds
    ADDRESS = auto()  # str, an IP network in canonical form
    TRACE_ID = auto()  # str, 32 hexadecimal digits in lower case
    BODY = auto()  # str
    JSON = auto()  # a JSON scalar
    SAMPLE = auto()  # int, parts of a million
    FIRST = auto()  # int


@dataclass(frozen=True, slots=True)
class Spec:
    """A field's rules; `is_early`: a request's headers and connection tell it."""

    kind: Kind
    ops: tuple[Op, ...]
    key: str = ""
    is_early: bool = False

    @property
    def is_call(self) -> bool:
        """Whether it is written as `sample(1%)`, without an operator."""
        return self.kind in {Kind.SAMPLE, Kind.FIRST}


_ORDER = (Op.BELOW, Op.AT_MOST, Op.ABOVE, Op.AT_LEAST)
_TEXT = (Op.EQUALS, Op.BEGINS, Op.CONTAINS, Op.MATCHES)
_HEADER = (*_TEXT, Op.EXISTS)
_BODY = Spec(Kind.BODY, (Op.CONTAINS,))
_JSON = Spec(Kind.JSON, _HEADER, key="a path such as order.items[0].id")

FIELDS = {
    "method": Spec(Kind.TEXT, (Op.EQUALS,), is_early=True),
    "path": Spec(Kind.TEXT, (*_TEXT, Op.LIKE), is_early=True),
    "authority": Spec(Kind.TEXT, _TEXT, is_early=True),
    "header": Spec(Kind.TEXT, _HEADER, key="a header's name", is_early=True),
    "response.header": Spec(Kind.TEXT, _HEADER, key="a header's name"),
    "status": Spec(Kind.STATUS, (Op.EQUALS, *_ORDER)),
    "latency": Spec(Kind.DURATION, _ORDER),
    "grpc.method": Spec(Kind.TEXT, _TEXT, is_early=True),
    "grpc.status": Spec(Kind.GRPC_STATUS, (Op.EQUALS, *_ORDER)),
    "source.principal": Spec(Kind.TEXT, _HEADER, is_early=True),
    "source.address": Spec(Kind.ADDRESS, (Op.EQUALS,), is_early=True),
    "trace_id": Spec(Kind.TRACE_ID, (Op.EQUALS,), is_early=True),
    "body": _BODY,
    "request.body": _BODY,
    "response.body": _BODY,
    "request.json": _JSON,
    "response.json": _JSON,
    "sample": Spec(Kind.SAMPLE, (Op.EQUALS,), is_early=True),
    "first": Spec(Kind.FIRST, (Op.EQUALS,)),
}

GRPC_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def spec_of(field: Field) -> Spec:
    """Return the rules of *field*."""
    return FIELDS[field.name]


def header_name(key: str) -> str:
    """Return what `header[key]` is called in the request: Envoy keeps HTTP/1's `host` as `:authority`."""
    return ":authority" if key == "host" else key


def known_to_envoy(names: Iterable[str]) -> frozenset[str]:
    """Return *names* of headers (lower case), and those by which Envoy keeps them."""
    return frozenset(each for name in names for each in (name, header_name(name)))


def is_early(condition: Condition) -> bool:
    """Whether the proxy can decide *condition* when it has a request's headers; its Lua has no regular expressions."""
    if not spec_of(condition.field).is_early or condition.op is Op.MATCHES:
        return False
    # IPv6 networks are left to the collector.
    return condition.field.name != "source.address" or ":" not in str(condition.value)
