"""What was captured, as values: one HTTP request and its response, or one connection's bytes."""

from dataclasses import dataclass

Pairs = tuple[tuple[str, bytes], ...]
"""Headers or trailers in their order of arrival, names lower-cased by Envoy; a value may be any bytes but NUL."""

# What a pair costs in memory beside its characters: a tuple, a str and a bytes object.
_PAIR_OVERHEAD_BYTES = 150


@dataclass(frozen=True, slots=True)
class Node:
    """The proxy that saw it: `node.id` and `node.cluster` of its bootstrap (envoy.config.core.v3.Node)."""

    id: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Message:
    """One half: headers (pseudo-headers such as `:path` among them), body as sent (never decoded), trailers."""

    headers: Pairs = ()
    body: bytes = b""
    trailers: Pairs = ()

    def first(self, name: str) -> bytes | None:
        """Return the first value of the header *name* (lower case), or None."""
        # A loop, and not a generator: it is asked some twenty times for each exchange that arrives.
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def content_bytes(self) -> int:
        """How many bytes of headers, body and trailers there are."""
        pairs = (*self.headers, *self.trailers)
        return len(self.body) + sum([len(name) + len(value) for name, value in pairs])

    @property
    def size_bytes(self) -> int:
        """About how much memory this message holds, in bytes."""
        return pairs_size_bytes(self.headers) + len(self.body) + pairs_size_bytes(self.trailers)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the proxy knows of an exchange beside its content, in Envoy's words; "" where the driver does not tell it.

    `protocol` (`HTTP/2`) and `local_address` are of the downstream connection, as are `tls_version`, `tls_cipher` and
    `server_name` (SNI); `upstream` is the address of the host that was chosen; `response_flags` are the short ones of
    access logs (`UF,URX`), or `-` for none.
    """

    protocol: str = ""
    local_address: str = ""
    tls_version: str = ""
    tls_cipher: str = ""
    server_name: str = ""
    route: str = ""
    cluster: str = ""
    upstream: str = ""
    response_flags: str = ""


_NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class SocketEvent:
    """Bytes that the peer of a connection sent (`is_read`) or was sent by the proxy, at *at_s* (unix seconds)."""

    at_s: float
    is_read: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response; None for a half of which nothing came. Or a connection, whose bytes `socket` has.

    `started_s` and `finished_s` are unix seconds: of the first and the last piece's arrival here, except where Envoy
    says when it received the request's headers (HttpBufferedTrace.Message.headers_received_time).
    `truncated`: a body or a header list is shorter than what was sent. `incomplete`: a half, or an end, is missing.
    `trace_id` is unique neither in space nor in time. `source_address` (`10.1.2.3:4711`, as Envoy says it) and
    `source_principal` (of the peer's certificate) are "" where the driver does not tell them.
    """

    tap_id: str
    node: Node
    trace_id: int
    request: Message | None
    response: Message | None
    started_s: float
    finished_s: float
    truncated: bool = False
    incomplete: bool = False
    source_address: str = ""
    source_principal: str = ""
    facts: Facts = _NO_FACTS
    socket: tuple[SocketEvent, ...] | None = None

    @property
    def content_bytes(self) -> int:
        """How many bytes of headers, bodies and trailers there are, or of the connection."""
        halves = sum(
            message.content_bytes for message in (self.request, self.response) if message is not None
        )
        return halves + sum(len(event.data) for event in self.socket or ())

    @property
    def latency_s(self) -> float:
        """Seconds from the first piece of the request to the last of the response."""
        return max(0.0, self.finished_s - self.started_s)

    @property
    def size_bytes(self) -> int:
        """About how much memory this exchange holds, in bytes."""
        halves = sum(message.size_bytes for message in (self.request, self.response) if message is not None)
        return halves + sum(len(event.data) + _PAIR_OVERHEAD_BYTES for event in self.socket or ())


def pairs_size_bytes(pairs: Pairs) -> int:
    """Return about how much memory *pairs* hold, in bytes."""
    size_bytes = len(pairs) * _PAIR_OVERHEAD_BYTES
    # A loop without calls: it is asked several times for each exchange that arrives.
    for name, value in pairs:
        size_bytes += len(value) + (len(name) if name.isascii() else 4 * len(name))
    return size_bytes


def text_size_bytes(text: str) -> int:
    """Return about how much memory the characters of *text* hold, in bytes: one wide character widens all of them."""
    return len(text) if text.isascii() else 4 * len(text)
