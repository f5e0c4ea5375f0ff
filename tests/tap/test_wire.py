"""StreamTapsRequests, as Envoy's own definitions serialize them, become the core's events; garbage is counted."""

import datetime as dt
from collections import Counter
from dataclasses import replace

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode
from envoy_data_plane.envoy.data.tap.v3 import (
    Body,
    HttpBufferedTrace,
    HttpBufferedTraceMessage,
    SocketStreamedTraceSegment,
    TraceWrapper,
)
from envoy_data_plane.envoy.service.tap.v3 import StreamTapsRequest, StreamTapsRequestIdentifier
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.events import Event, Key, Kind, Loss, Piece, Side, StreamEnd, WholeTrace
from envoy_tap.core.exchange import Message
from envoy_tap.wire import StreamDecoder, read_trace, written
from tests.tap.building import IDENTIFIER, KEY, NODE, RESPONSE, exchange, header_map, segment


class Stream:
    """One stream's decoder with a record of what it lost."""

    def __init__(self) -> None:
        self.lost: Counter[Loss] = Counter()
        self.decoder = StreamDecoder(3, lambda loss: self.lost.update([loss]))

    def decode(self, payload: bytes) -> Event | None:
        return self.decoder.decode(payload)


@pytest.fixture
def stream() -> Stream:
    """A stream that has said who it is."""
    stream = Stream()
    assert stream.decode(bytes(StreamTapsRequest(identifier=IDENTIFIER))) is None
    assert not stream.lost
    return stream


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(("kind", "field"), [(Kind.HEADERS, "headers"), (Kind.TRAILERS, "trailers")])
def test_headers_and_trailers(stream: Stream, side: Side, kind: Kind, field: str) -> None:
    sent = HeaderMap(headers=[HeaderValue(key="a", value="é"), HeaderValue(key="b", raw_value=b"\xff")])
    event = stream.decode(segment(f"{side.value}_{field}", sent))
    assert event == Piece(3, KEY, side, kind, pairs=(("a", "é".encode()), ("b", b"\xff")))


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("body", "data"), [(Body(as_bytes=b"\x00\xff"), b"\x00\xff"), (Body(as_string="é"), "é".encode())]
)
def test_body_chunks(stream: Stream, side: Side, body: Body, data: bytes) -> None:
    body.truncated = True
    event = stream.decode(segment(f"{side.value}_body_chunk", body))
    assert event == Piece(3, KEY, side, Kind.BODY, data=data, truncated=True)


def test_the_identifier_may_come_with_the_first_segment() -> None:
    event = Stream().decode(segment("request_headers", header_map(()), identifier=IDENTIFIER))
    assert event == Piece(3, KEY, Side.REQUEST, Kind.HEADERS)


def test_the_trace_id_may_be_in_the_segment_only(stream: Stream) -> None:
    request = StreamTapsRequest.parse(segment("request_headers", header_map(()), trace_id=2**64 - 1))
    request.trace_id = 0
    event = stream.decode(bytes(request))
    assert isinstance(event, Piece)
    assert event.key.trace_id == 2**64 - 1


def test_a_trace_before_the_identifier_is_counted() -> None:
    stream = Stream()
    assert stream.decode(segment("request_headers", header_map(()))) is None
    assert stream.lost == {Loss.UNIDENTIFIED: 1}


def test_an_identifier_of_absurd_length_identifies_nobody() -> None:
    stream = Stream()
    long = StreamTapsRequestIdentifier(node=EnvoyNode(id="x" * 2000), tap_id="t")
    assert stream.decode(segment("request_headers", header_map(()), identifier=long)) is None
    assert stream.lost == {Loss.UNIDENTIFIED: 1}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(StreamTapsRequest(trace_id=3)),
        segment(),
        bytes(
            StreamTapsRequest(
                trace=TraceWrapper(socket_streamed_trace_segment=SocketStreamedTraceSegment(trace_id=3))
            )
        ),
    ],
    ids=["empty", "no trace", "no piece", "piece of a connection"],
)
def test_what_holds_no_http_piece_is_counted_as_unsupported(stream: Stream, payload: bytes) -> None:
    assert stream.decode(payload) is None
    assert stream.lost == {Loss.UNSUPPORTED: 1}


def test_a_value_that_is_not_utf8_is_counted_as_unparseable(stream: Stream) -> None:
    sent = segment("request_headers", HeaderMap(headers=[HeaderValue(key="a", value="marker")]))
    assert stream.decode(sent.replace(b"marker", b"mark\xff\xfe")) is None
    assert stream.lost == {Loss.UNPARSEABLE: 1}


@given(st.binary(max_size=200))
def test_garbage_never_raises_and_is_counted(payload: bytes) -> None:
    stream = Stream()
    assert stream.decode(payload) is None
    assert stream.lost.total() <= 1


def test_a_flood_of_empty_headers_is_cut(stream: Stream) -> None:
    event = stream.decode(segment("request_headers", HeaderMap(headers=[HeaderValue()] * 5000)))
    assert isinstance(event, Piece)
    assert (len(event.pairs), event.truncated) == (4096, True)


def test_a_buffered_trace_is_a_whole_exchange(stream: Stream) -> None:
    received = dt.datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=dt.UTC)
    trace = HttpBufferedTrace(
        request=HttpBufferedTraceMessage(
            headers=[HeaderValue(key=":path", value="/")],
            body=Body(as_bytes=b"in"),
            trailers=[HeaderValue(key="t", value="1")],
            headers_received_time=received,
        ),
        response=HttpBufferedTraceMessage(body=Body(as_bytes=b"out", truncated=True)),
    )
    sent = StreamTapsRequest(trace_id=7, trace=TraceWrapper(http_buffered_trace=trace))
    assert stream.decode(bytes(sent)) == WholeTrace(
        Key(NODE, "tap-1", 7),
        Message(((":path", b"/"),), b"in", (("t", b"1"),)),
        Message((), b"out"),
        truncated=True,
        started_s=received.timestamp(),
    )


def test_a_buffered_trace_may_lack_a_half_and_a_time(stream: Stream) -> None:
    trace = HttpBufferedTrace(request=HttpBufferedTraceMessage())
    sent = StreamTapsRequest(trace_id=7, trace=TraceWrapper(http_buffered_trace=trace))
    assert stream.decode(bytes(sent)) == WholeTrace(KEY, Message(), None)


# Timestamp{seconds} in HttpBufferedTrace.request.headers_received_time, by hand: no library writes an invalid one.
@pytest.mark.parametrize("seconds", [0, -1, 253_402_300_800, 2**63 - 1])
def test_a_time_that_is_no_date_is_ignored(stream: Stream, seconds: int) -> None:
    timestamp = b"\x08" + varint(seconds % 2**64)
    message = delimited(4, timestamp)
    trace = delimited(3, delimited(1, delimited(1, message)))
    event = stream.decode(trace)
    assert isinstance(event, WholeTrace)
    assert event.started_s is None


def test_the_end_of_a_stream_is_an_event(stream: Stream) -> None:
    assert stream.decoder.end(clean=False) == StreamEnd(3, clean=False)


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def delimited(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def test_an_exchange_that_is_written_reads_back_whole() -> None:
    sent = exchange(
        Message(((":path", b"/\xff"), ("x-a", b"\xe9")), bytes(range(256)), (("x-t", b""),)), RESPONSE
    )
    event = StreamDecoder(1, list[Loss]().append).decode(written(replace(sent, truncated=True)))
    assert isinstance(event, WholeTrace)
    assert (event.key, event.request, event.response, event.truncated) == (
        Key(NODE, sent.tap_id, sent.trace_id),
        sent.request,
        sent.response,
        True,
    )
    half = StreamDecoder(2, list[Loss]().append).decode(written(replace(sent, response=None)))
    assert isinstance(half, WholeTrace)
    assert half.response is None


def test_what_a_newer_envoy_adds_to_a_trace_is_passed_over() -> None:
    request = {
        "headers": [{"key": ":path", "value": "/a", "raw_value": "L2E=", "newer": [1]}],
        "body": {"as_bytes": "YQ=="},
    }
    address = {"socket_address": {"address": "::1", "port_value": 80, "protocol": "TCP"}}
    trace = {"request": request, "downstream_connection": {"remote_address": address}, "seq_num": "7"}
    found = read_trace({"http_buffered_trace": trace, "newest": {}}, NODE)
    assert found is not None
    assert (found[0].request, found[0].response, found[1]) == (
        Message(((":path", b"/a"),), b"a"),
        None,
        "[::1]:80",
    )
    hostile: list[object] = [
        {},
        {"socket_buffered_trace": {}},
        {"http_buffered_trace": 7},
        [],
        {"http_buffered_trace": {"request": {"headers": 5}}},
    ]
    assert [read_trace(other, NODE) for other in hostile] == [None] * len(hostile)
