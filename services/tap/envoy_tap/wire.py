"""The wire adapter: StreamTapsRequest bytes (envoy.service.tap.v3) to the core's events."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from envoy_sidecar.pb import common_pb2, tap_pb2
from envoy_tap.core.events import (
    Event,
    Key,
    Kind,
    Loss,
    Piece,
    Side,
    StreamEnd,
    WholeConnection,
    WholeTrace,
)
from envoy_tap.core.exchange import Exchange, Message, Node, Pairs, SocketEvent

# StreamTapsResponse has no fields.
EMPTY_RESPONSE = b""

# Longer than any real one; it bounds what a key can hold.
_MAX_NAME_CHARS = 1024

# More than any Envoy lets through. A message of 4 MiB can hold two million empty pairs, 300 MB as Python objects.
_MAX_PAIRS = 4096
_MAX_EVENTS = 4096

# More than any script sends for one half: headers, three pieces of a body, that it is cut, trailers.
_MAX_MESSAGES = 16

# Where google.protobuf.Timestamp ends; what lies beyond cannot be written as a date.
_YEAR_10000_S = 253_402_300_800

_NANOS = 1_000_000_000

_PIECES = {
    "request_headers": (Side.REQUEST, Kind.HEADERS),
    "request_body_chunk": (Side.REQUEST, Kind.BODY),
    "request_trailers": (Side.REQUEST, Kind.TRAILERS),
    "response_headers": (Side.RESPONSE, Kind.HEADERS),
    "response_body_chunk": (Side.RESPONSE, Kind.BODY),
    "response_trailers": (Side.RESPONSE, Kind.TRAILERS),
}


def whole_stream(payload: bytes) -> Sequence[bytes] | None:
    """Return the serialized StreamTapsRequests in *payload* (a serialized TakeTapsRequest).

    None for anything else, and for more of them than one half can be: 4 MiB hold two million empty ones.
    """
    try:
        messages = tap_pb2.TakeTapsRequest.FromString(payload).messages
    except DecodeError:
        return None
    return messages if len(messages) <= _MAX_MESSAGES else None


class StreamDecoder:
    """Decodes one RPC stream; holds the identifier, which comes in the stream's first message only.

    *stream* is the caller's number of this stream, never used twice. What cannot be used is reported to *on_loss*;
    nothing raises. Socket traces that come in pieces are not supported and counted as such.
    """

    def __init__(self, stream: int, on_loss: Callable[[Loss], None]) -> None:
        self._stream = stream
        self._on_loss = on_loss
        self._node: Node | None = None
        self._tap_id = ""

    def decode(self, payload: bytes) -> Event | None:
        """Return the event in *payload* (a serialized StreamTapsRequest), or None if it holds none."""
        event = self._read(payload)
        if isinstance(event, Loss):
            self._on_loss(event)
            return None
        return event

    def end(self, *, clean: bool) -> StreamEnd:
        """Return the event of this stream's end; not *clean* if it was reset."""
        return StreamEnd(self._stream, clean)

    def _read(self, payload: bytes) -> Event | Loss | None:
        try:
            request = tap_pb2.StreamTapsRequest.FromString(payload)
        except DecodeError:
            return Loss.UNPARSEABLE
        if request.HasField("identifier"):
            self._identify(request.identifier)
        which = request.trace.WhichOneof("trace")
        if which is None:
            # A message with only an identifier is how a stream may begin.
            return None if request.HasField("identifier") else Loss.UNSUPPORTED
        if self._node is None:
            return Loss.UNIDENTIFIED
        if which == "http_streamed_trace_segment":
            return self._piece(self._node, request.trace_id, request.trace.http_streamed_trace_segment)
        return _buffered(Key(self._node, self._tap_id, request.trace_id), request.trace)

    def _identify(self, identifier: tap_pb2.StreamTapsRequest.Identifier) -> None:
        node = identifier.node
        if max(len(node.id), len(node.cluster), len(identifier.tap_id)) > _MAX_NAME_CHARS:
            self._node = None
            return
        self._node = Node(node.id, node.cluster)
        self._tap_id = identifier.tap_id

    def _piece(self, node: Node, trace_id: int, segment: tap_pb2.HttpStreamedTraceSegment) -> Piece | Loss:
        which = segment.WhichOneof("message_piece")
        if which is None:
            return Loss.UNSUPPORTED
        side, kind = _PIECES[which]
        key = Key(node, self._tap_id, trace_id or segment.trace_id)
        if kind is Kind.BODY:
            chunk: tap_pb2.Body = getattr(segment, which)
            return Piece(self._stream, key, side, kind, data=_body(chunk), truncated=chunk.truncated)
        headers: Sequence[common_pb2.HeaderValue] = getattr(segment, which).headers
        return Piece(self._stream, key, side, kind, pairs=_pairs(headers), truncated=_is_cut(headers))


def _pairs(headers: Sequence[common_pb2.HeaderValue]) -> Pairs:
    return tuple((header.key, header.raw_value or header.value.encode()) for header in headers[:_MAX_PAIRS])


def _is_cut(headers: Sequence[common_pb2.HeaderValue]) -> bool:
    return len(headers) > _MAX_PAIRS


def _body(body: tap_pb2.Body) -> bytes:
    return body.as_string.encode() if body.WhichOneof("body_type") == "as_string" else body.as_bytes


def _message(message: tap_pb2.HttpBufferedTrace.Message) -> Message:
    return Message(_pairs(message.headers), _body(message.body), _pairs(message.trailers))


def _buffered(key: Key, trace: tap_pb2.TraceWrapper) -> WholeTrace | WholeConnection | Loss:
    if trace.HasField("http_buffered_trace"):
        return _whole(key, trace.http_buffered_trace)
    if trace.HasField("socket_buffered_trace"):
        return _connection(key, trace.socket_buffered_trace)
    return Loss.UNSUPPORTED


def _whole(key: Key, trace: tap_pb2.HttpBufferedTrace) -> WholeTrace:
    both = (trace.request, trace.response)
    return WholeTrace(
        key,
        _message(trace.request) if trace.HasField("request") else None,
        _message(trace.response) if trace.HasField("response") else None,
        truncated=any(
            half.body.truncated or _is_cut(half.headers) or _is_cut(half.trailers) for half in both
        ),
        started_s=_unix_s(trace.request.headers_received_time),
    )


def _unix_s(time: Timestamp) -> float | None:
    is_date = 0 < time.seconds < _YEAR_10000_S - 1 and 0 <= time.nanos < _NANOS
    return time.seconds + time.nanos / _NANOS if is_date else None


def _connection(key: Key, trace: tap_pb2.SocketBufferedTrace) -> WholeConnection:
    bodies = [getattr(event, event.WhichOneof("event_selector") or "read") for event in _moved(trace)]
    return WholeConnection(
        key,
        tuple(_events(trace)),
        _address(trace.connection.local_address),
        _address(trace.connection.remote_address),
        truncated=trace.read_truncated
        or trace.write_truncated
        or len(trace.events) > _MAX_EVENTS
        or any(body.data.truncated for body in bodies),
    )


def _events(trace: tap_pb2.SocketBufferedTrace) -> Iterator[SocketEvent]:
    at_s = 0.0
    for event in _moved(trace):
        at_s = _unix_s(event.timestamp) or at_s
        is_read = event.WhichOneof("event_selector") == "read"
        yield SocketEvent(at_s, is_read, _body(event.read.data if is_read else event.write.data))


def _moved(trace: tap_pb2.SocketBufferedTrace) -> Iterator[tap_pb2.SocketEvent]:
    return (
        event
        for event in trace.events[:_MAX_EVENTS]
        if event.WhichOneof("event_selector") in {"read", "write"}
    )


def _address(address: common_pb2.Address) -> str:
    peer = address.socket_address
    host = f"[{peer.address}]" if ":" in peer.address else peer.address
    return f"{host}:{peer.port_value}" if peer.address else ""


def read_connection(data: Any, node: Node) -> WholeConnection | None:
    """Return the SocketBufferedTrace in *data* (a TraceWrapper as JSON); as `read_trace` does."""
    wrapper = _wrapper(data)
    if wrapper is None or wrapper.WhichOneof("trace") != "socket_buffered_trace":
        return None
    return _connection(Key(node, "", 0), wrapper.socket_buffered_trace)


def _wrapper(data: Any) -> tap_pb2.TraceWrapper | None:
    try:
        return json_format.ParseDict(data, tap_pb2.TraceWrapper(), ignore_unknown_fields=True)
    except json_format.ParseError:
        return None


def read_trace(data: Any, node: Node) -> tuple[WholeTrace, str] | None:
    """Return the HttpBufferedTrace in *data* (a TraceWrapper as JSON) and the peer's address; None for anything else.

    Fields that are not known are passed over: a newer Envoy has more. The key's trace id is left 0.
    """
    wrapper = _wrapper(data)
    if wrapper is None or wrapper.WhichOneof("trace") != "http_buffered_trace":
        return None
    trace = wrapper.http_buffered_trace
    return _whole(Key(node, "", 0), trace), _address(trace.downstream_connection.remote_address)


def written(exchange: Exchange) -> bytes:
    """Return *exchange* as one StreamTapsRequest, with its identifier; the inverse of `StreamDecoder` for whole traces."""
    request = tap_pb2.StreamTapsRequest(trace_id=exchange.trace_id)
    request.identifier.tap_id = exchange.tap_id
    request.identifier.node.id = exchange.node.id
    request.identifier.node.cluster = exchange.node.cluster
    if exchange.socket is not None:
        _write_connection(exchange, exchange.socket, request.trace.socket_buffered_trace)
        return request.SerializeToString()
    trace = request.trace.http_buffered_trace
    for message, target in ((exchange.request, trace.request), (exchange.response, trace.response)):
        if message is not None:
            _write(message, target)
    trace.request.body.truncated = exchange.truncated
    return request.SerializeToString()


def _write(message: Message, target: tap_pb2.HttpBufferedTrace.Message) -> None:
    # Being there is what counts, should all of it be empty.
    target.SetInParent()
    target.body.as_bytes = message.body
    for pairs, headers in ((message.headers, target.headers), (message.trailers, target.trailers)):
        for name, value in pairs:
            headers.add(key=name, raw_value=value)


def _write_connection(
    exchange: Exchange, events: Sequence[SocketEvent], target: tap_pb2.SocketBufferedTrace
) -> None:
    target.SetInParent()
    target.read_truncated = exchange.truncated
    ends = (
        (exchange.facts.local_address, target.connection.local_address),
        (exchange.source_address, target.connection.remote_address),
    )
    for text, address in ends:
        host, _, port = text.rpartition(":")
        if host:
            address.socket_address.address = host.strip("[]")
            address.socket_address.port_value = int(port)
    for event in events:
        added = target.events.add()
        added.timestamp.FromMicroseconds(round(event.at_s * 1_000_000))
        (added.read if event.is_read else added.write).data.as_bytes = event.data
