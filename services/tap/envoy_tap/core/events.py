"""What a collector's streams say, as events: the input of the assembler."""

from dataclasses import dataclass
from enum import Enum, StrEnum

from envoy_tap.core.exchange import Message, Node, Pairs, SocketEvent, text_size_bytes


class Side(Enum):
    """Which half of an exchange a piece belongs to."""

    REQUEST = "request"
    RESPONSE = "response"


class Kind(Enum):
    """Which part of a half a piece is."""

    HEADERS = "headers"
    BODY = "body"
    TRAILERS = "trailers"


@dataclass(frozen=True, slots=True)
class Key:
    """What ties two halves together: the proxy, the tap, and the trace id (unsigned, 64 bits)."""

    node: Node
    tap_id: str
    trace_id: int

    @property
    def size_bytes(self) -> int:
        """About how much memory the names in this key hold, in bytes."""
        return sum(map(text_size_bytes, (self.node.id, self.node.cluster, self.tap_id)))


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment of a half (HttpStreamedTraceSegment.message_piece).

    `stream` is the collector's own number of the RPC stream, never used twice. `pairs` is for headers and trailers,
    `data` for a body chunk; `truncated`: what it holds is less than was sent (for a body, Body.truncated).
    """

    stream: int
    key: Key
    side: Side
    kind: Kind
    pairs: Pairs = ()
    data: bytes = b""
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """An RPC stream ended, and with it every half that it carried; not `clean` if it was reset.

    `carries_both`: both halves came on it, so that a half which is missing now will never come.
    """

    stream: int
    clean: bool = True
    carries_both: bool = False


@dataclass(frozen=True, slots=True)
class WholeTrace:
    """Both halves in one message (HttpBufferedTrace); `started_s` is Envoy's own time, in unix seconds, if it gave one."""

    key: Key
    request: Message | None
    response: Message | None
    truncated: bool = False
    started_s: float | None = None


@dataclass(frozen=True, slots=True)
class WholeConnection:
    """A connection that is over (SocketBufferedTrace): its bytes in order, and its ends as `10.1.2.3:4711`."""

    key: Key
    events: tuple[SocketEvent, ...]
    local_address: str = ""
    remote_address: str = ""
    truncated: bool = False


Event = Piece | StreamEnd | WholeTrace | WholeConnection


class Loss(StrEnum):
    """Why something that Envoy sent is not in any exchange."""

    UNPARSEABLE = "unparseable"
    UNIDENTIFIED = "unidentified"
    UNSUPPORTED = "unsupported"
    DUPLICATE = "duplicate"
    OPEN_EXCHANGES = "open_exchanges"
    TOTAL_BYTES = "total_bytes"
    QUEUE_FULL = "queue_full"
    SINK_ERROR = "sink_error"
    STORE_FULL = "store_full"
    OVER_LIMIT = "over_limit"
    DELETED = "deleted"
    STOPPED = "stopped"
