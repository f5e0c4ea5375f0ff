"""The transport port: what a service offers, and what a server of it must do.

A service offers unary methods, whose handlers take a *batch* of raw requests and answer each, and stream methods.
A transport (`native`, `grpcio`) serves them and the standard health service; a handler cannot tell which one runs.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import grpc

from envoy_sidecar.transport.address import Address

DEFAULT_SOCKET_MODE = 0o660
"""Of the Unix socket that Envoy calls: its owner and its group."""


class Call(NamedTuple):
    """One unary request as it arrived.

    `payload` is the serialized request message. `traceparent` is the caller's W3C trace context header
    (https://www.w3.org/TR/trace-context/#traceparent-header), or None; it is unchecked input.
    """

    payload: bytes
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An RPC error as an answer; `message` reaches the caller, so it holds no secret."""

    code: grpc.StatusCode
    message: str


Answer = bytes | Failure
UnaryHandler = Callable[[Sequence[Call]], Sequence[Answer]]
"""Answers a batch: as many answers as calls, in their order.

It runs on the transport's one dispatcher thread, never twice at once; while it waits for a store, the next batch
collects. It may block for as long as the service's own deadline allows. It must not raise: what it raises is answered
INTERNAL for the whole batch.
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who opened a stream: the gRPC peer string (`ipv4:127.0.0.1:4711`), and the call's metadata, names lower-cased."""

    address: str
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)


StreamHandler = Callable[[AsyncIterator[bytes], Peer], AsyncGenerator[bytes, None]]
"""Serves one stream on the event loop: serialized requests in, serialized responses out.

Client-streaming methods are the case of one response at the end (on the wire they do not differ).
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What one gRPC service offers.

    `name` is the full protobuf name (`envoy.service.auth.v3.Authorization`); `unary` and `streams` map method names
    (`Check`) to their handlers. `too_large` answers a unary request that is too large to be handled
    (`batching.MAX_MESSAGE_BYTES`), for a service whose callers go on when they get an RPC error; None stands for
    RESOURCE_EXHAUSTED.
    """

    name: str
    unary: Mapping[str, UnaryHandler] = field(default_factory=dict)
    streams: Mapping[str, StreamHandler] = field(default_factory=dict)
    too_large: bytes | None = None


class Transport(Protocol):
    """A server of gRPC services on one listening address."""

    async def start(self) -> Address:
        """Bind and serve; return the address bound (port 0 made concrete). Raises ListenError if it is taken."""

    async def stop(self, grace_s: float) -> None:
        """Stop accepting, let calls in flight finish for at most *grace_s* seconds, then close."""


class ListenError(Exception):
    """The address cannot be listened on; the message says which, why, and what would help."""
