"""What the tap's tests are made of: pieces, exchanges, messages as Envoy's own definitions serialize them, a clock."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode
from envoy_data_plane.envoy.data.tap.v3 import Body, HttpStreamedTraceSegment, TraceWrapper
from envoy_data_plane.envoy.service.tap.v3 import StreamTapsRequest, StreamTapsRequestIdentifier

from envoy_sidecar.telemetry.tally import Tally
from envoy_tap.core.events import Key, Kind, Loss, Piece, Side
from envoy_tap.core.exchange import Exchange, Message, Node, Pairs
from envoy_tap.core.predicate import parse
from envoy_tap.core.session import Session

NODE = Node("edge-1", "edge")
KEY = Key(NODE, "tap-1", 7)
REQUEST = Message(((":method", b"POST"), (":path", b"/orders"), ("x-a", b"1")), b"ping", (("x-t", b"q"),))
RESPONSE = Message(((":status", b"200"), ("x-b", b"2")), b"pong", (("x-t", b"r"),))
IDENTIFIER = StreamTapsRequestIdentifier(node=EnvoyNode(id="edge-1", cluster="edge"), tap_id="tap-1")


@dataclass
class Clock:
    """A clock that stands still unless it is told to go on; unix seconds."""

    now_s: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def counted(tally: Tally) -> dict[str, int]:
    """Return what *tally* has counted by its one label, without the zeros with which it begins."""
    return {label: count for (label,), count in tally.counts.items() if count}


@dataclass
class MemorySink:
    """Keeps what is written; can be held up, and can refuse."""

    stored: list[Exchange] = field(default_factory=list)
    refuses: bool = False
    closed: bool = False
    entered: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.released.set()

    def write(self, batch: Sequence[Exchange]) -> Mapping[int, Loss]:
        self.entered.set()
        assert self.released.wait(timeout=30)
        if self.refuses:
            raise OSError("no space left on device")
        self.stored += batch
        return {}

    def close(self) -> None:
        self.closed = True


def exchange(request: Message | None = REQUEST, response: Message | None = RESPONSE, **more: Any) -> Exchange:
    times = {"started_s": 1.5, "finished_s": 2.0}
    return Exchange(more.pop("tap_id", "tap-1"), NODE, 7, request, response, **{**times, **more})


def session(
    session_id: str = "tap-1",
    predicate: str = "all",
    *,
    now_s: float = 1_000_000.0,
    for_s: int = 600,
    **more: Any,
) -> Session:
    """Return a session that began at *now_s* and ends *for_s* seconds after."""
    return Session(session_id, "alice", "a test", parse(predicate), now_s, int(now_s) + for_s, **more)


def pieces(
    side: Side, message: Message, *, stream: int = 0, key: Key = KEY, chunks: Sequence[bytes] | None = None
) -> list[Piece]:
    """Return the pieces that carry *message*; its body in *chunks*, else in one, if it has any."""
    bodies = ([message.body] if message.body else []) if chunks is None else chunks
    found = [Piece(stream, key, side, Kind.HEADERS, pairs=message.headers)]
    found += [Piece(stream, key, side, Kind.BODY, data=chunk) for chunk in bodies]
    if message.trailers:
        found.append(Piece(stream, key, side, Kind.TRAILERS, pairs=message.trailers))
    return found


def header_map(pairs: Pairs) -> HeaderMap:
    return HeaderMap(headers=[HeaderValue(key=name, raw_value=value) for name, value in pairs])


def segment(
    field: str = "",
    piece: HeaderMap | Body | None = None,
    *,
    trace_id: int = 7,
    identifier: StreamTapsRequestIdentifier | None = None,
) -> bytes:
    """Return a serialized StreamTapsRequest with an HttpStreamedTraceSegment whose *field* is *piece*."""
    pieces: dict[str, Any] = {field: piece} if field else {}
    trace = TraceWrapper(http_streamed_trace_segment=HttpStreamedTraceSegment(trace_id=trace_id, **pieces))
    return bytes(StreamTapsRequest(identifier=identifier, trace_id=trace_id, trace=trace))


def half(side: Side, message: Message, *, trace_id: int = 7) -> list[bytes]:
    """Return the serialized messages of one half, as the script sends them; the first has the identifier."""
    name, headers = side.value, header_map(message.headers)
    sent = [
        segment(f"{name}_headers", headers, trace_id=trace_id, identifier=IDENTIFIER),
        segment(f"{name}_body_chunk", Body(as_bytes=message.body), trace_id=trace_id),
    ]
    if message.trailers:
        sent.append(segment(f"{name}_trailers", header_map(message.trailers), trace_id=trace_id))
    return sent
