import datetime

from envoy_sidecar.pb import common_pb2 as _common_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamTapsRequest(_message.Message):
    __slots__ = ("identifier", "trace_id", "trace")
    class Identifier(_message.Message):
        __slots__ = ("node", "tap_id")
        NODE_FIELD_NUMBER: _ClassVar[int]
        TAP_ID_FIELD_NUMBER: _ClassVar[int]
        node: _common_pb2.Node
        tap_id: str
        def __init__(self, node: _Optional[_Union[_common_pb2.Node, _Mapping]] = ..., tap_id: _Optional[str] = ...) -> None: ...
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    identifier: StreamTapsRequest.Identifier
    trace_id: int
    trace: TraceWrapper
    def __init__(self, identifier: _Optional[_Union[StreamTapsRequest.Identifier, _Mapping]] = ..., trace_id: _Optional[int] = ..., trace: _Optional[_Union[TraceWrapper, _Mapping]] = ...) -> None: ...

class StreamTapsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TakeTapsRequest(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, messages: _Optional[_Iterable[bytes]] = ...) -> None: ...

class TraceWrapper(_message.Message):
    __slots__ = ("http_buffered_trace", "http_streamed_trace_segment", "socket_buffered_trace", "socket_streamed_trace_segment")
    HTTP_BUFFERED_TRACE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STREAMED_TRACE_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SOCKET_BUFFERED_TRACE_FIELD_NUMBER: _ClassVar[int]
    SOCKET_STREAMED_TRACE_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    http_buffered_trace: HttpBufferedTrace
    http_streamed_trace_segment: HttpStreamedTraceSegment
    socket_buffered_trace: SocketBufferedTrace
    socket_streamed_trace_segment: SocketStreamedTraceSegment
    def __init__(self, http_buffered_trace: _Optional[_Union[HttpBufferedTrace, _Mapping]] = ..., http_streamed_trace_segment: _Optional[_Union[HttpStreamedTraceSegment, _Mapping]] = ..., socket_buffered_trace: _Optional[_Union[SocketBufferedTrace, _Mapping]] = ..., socket_streamed_trace_segment: _Optional[_Union[SocketStreamedTraceSegment, _Mapping]] = ...) -> None: ...

class Body(_message.Message):
    __slots__ = ("as_bytes", "as_string", "truncated")
    AS_BYTES_FIELD_NUMBER: _ClassVar[int]
    AS_STRING_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    as_bytes: bytes
    as_string: str
    truncated: bool
    def __init__(self, as_bytes: _Optional[bytes] = ..., as_string: _Optional[str] = ..., truncated: _Optional[bool] = ...) -> None: ...

class Connection(_message.Message):
    __slots__ = ("local_address", "remote_address")
    LOCAL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    local_address: _common_pb2.Address
    remote_address: _common_pb2.Address
    def __init__(self, local_address: _Optional[_Union[_common_pb2.Address, _Mapping]] = ..., remote_address: _Optional[_Union[_common_pb2.Address, _Mapping]] = ...) -> None: ...

class HttpBufferedTrace(_message.Message):
    __slots__ = ("request", "response", "downstream_connection", "upstream_connection")
    class Message(_message.Message):
        __slots__ = ("headers", "body", "trailers", "headers_received_time")
        HEADERS_FIELD_NUMBER: _ClassVar[int]
        BODY_FIELD_NUMBER: _ClassVar[int]
        TRAILERS_FIELD_NUMBER: _ClassVar[int]
        HEADERS_RECEIVED_TIME_FIELD_NUMBER: _ClassVar[int]
        headers: _containers.RepeatedCompositeFieldContainer[_common_pb2.HeaderValue]
        body: Body
        trailers: _containers.RepeatedCompositeFieldContainer[_common_pb2.HeaderValue]
        headers_received_time: _timestamp_pb2.Timestamp
        def __init__(self, headers: _Optional[_Iterable[_Union[_common_pb2.HeaderValue, _Mapping]]] = ..., body: _Optional[_Union[Body, _Mapping]] = ..., trailers: _Optional[_Iterable[_Union[_common_pb2.HeaderValue, _Mapping]]] = ..., headers_received_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    DOWNSTREAM_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    request: HttpBufferedTrace.Message
    response: HttpBufferedTrace.Message
    downstream_connection: Connection
    upstream_connection: Connection
    def __init__(self, request: _Optional[_Union[HttpBufferedTrace.Message, _Mapping]] = ..., response: _Optional[_Union[HttpBufferedTrace.Message, _Mapping]] = ..., downstream_connection: _Optional[_Union[Connection, _Mapping]] = ..., upstream_connection: _Optional[_Union[Connection, _Mapping]] = ...) -> None: ...

class HttpStreamedTraceSegment(_message.Message):
    __slots__ = ("trace_id", "request_headers", "request_body_chunk", "request_trailers", "response_headers", "response_body_chunk", "response_trailers")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_HEADERS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BODY_CHUNK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TRAILERS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BODY_CHUNK_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TRAILERS_FIELD_NUMBER: _ClassVar[int]
    trace_id: int
    request_headers: _common_pb2.HeaderMap
    request_body_chunk: Body
    request_trailers: _common_pb2.HeaderMap
    response_headers: _common_pb2.HeaderMap
    response_body_chunk: Body
    response_trailers: _common_pb2.HeaderMap
    def __init__(self, trace_id: _Optional[int] = ..., request_headers: _Optional[_Union[_common_pb2.HeaderMap, _Mapping]] = ..., request_body_chunk: _Optional[_Union[Body, _Mapping]] = ..., request_trailers: _Optional[_Union[_common_pb2.HeaderMap, _Mapping]] = ..., response_headers: _Optional[_Union[_common_pb2.HeaderMap, _Mapping]] = ..., response_body_chunk: _Optional[_Union[Body, _Mapping]] = ..., response_trailers: _Optional[_Union[_common_pb2.HeaderMap, _Mapping]] = ...) -> None: ...

class SocketEvent(_message.Message):
    __slots__ = ("timestamp", "read", "write", "closed", "connection", "seq_num")
    class Read(_message.Message):
        __slots__ = ("data",)
        DATA_FIELD_NUMBER: _ClassVar[int]
        data: Body
        def __init__(self, data: _Optional[_Union[Body, _Mapping]] = ...) -> None: ...
    class Write(_message.Message):
        __slots__ = ("data", "end_stream")
        DATA_FIELD_NUMBER: _ClassVar[int]
        END_STREAM_FIELD_NUMBER: _ClassVar[int]
        data: Body
        end_stream: bool
        def __init__(self, data: _Optional[_Union[Body, _Mapping]] = ..., end_stream: _Optional[bool] = ...) -> None: ...
    class Closed(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    WRITE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    SEQ_NUM_FIELD_NUMBER: _ClassVar[int]
    timestamp: _timestamp_pb2.Timestamp
    read: SocketEvent.Read
    write: SocketEvent.Write
    closed: SocketEvent.Closed
    connection: Connection
    seq_num: int
    def __init__(self, timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., read: _Optional[_Union[SocketEvent.Read, _Mapping]] = ..., write: _Optional[_Union[SocketEvent.Write, _Mapping]] = ..., closed: _Optional[_Union[SocketEvent.Closed, _Mapping]] = ..., connection: _Optional[_Union[Connection, _Mapping]] = ..., seq_num: _Optional[int] = ...) -> None: ...

class SocketEvents(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[SocketEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[SocketEvent, _Mapping]]] = ...) -> None: ...

class SocketBufferedTrace(_message.Message):
    __slots__ = ("trace_id", "connection", "events", "read_truncated", "write_truncated")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    READ_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    WRITE_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    trace_id: int
    connection: Connection
    events: _containers.RepeatedCompositeFieldContainer[SocketEvent]
    read_truncated: bool
    write_truncated: bool
    def __init__(self, trace_id: _Optional[int] = ..., connection: _Optional[_Union[Connection, _Mapping]] = ..., events: _Optional[_Iterable[_Union[SocketEvent, _Mapping]]] = ..., read_truncated: _Optional[bool] = ..., write_truncated: _Optional[bool] = ...) -> None: ...

class SocketStreamedTraceSegment(_message.Message):
    __slots__ = ("trace_id", "connection", "event", "events")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    trace_id: int
    connection: Connection
    event: SocketEvent
    events: SocketEvents
    def __init__(self, trace_id: _Optional[int] = ..., connection: _Optional[_Union[Connection, _Mapping]] = ..., event: _Optional[_Union[SocketEvent, _Mapping]] = ..., events: _Optional[_Union[SocketEvents, _Mapping]] = ...) -> None: ...
