"""An exchange as HTTP/1.1 would carry it (RFC 9112), whatever version it was: for raw text, packets and replays."""

import re
from collections.abc import Iterable
from http import HTTPStatus

from envoy_tap.core.decode.body import plain_body
from envoy_tap.core.exchange import Message, Pairs
from envoy_tap.export.model import Entry

# RFC 9110, 5.6.2 and 7.6.1; what frames the body is said anew.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
FRAMING = frozenset({"content-length", "transfer-encoding"})
_BREAKING = re.compile(rb"[\r\n\0]")
_NOT_A_TARGET = re.compile(rb"[^\x21-\x7e]")
_NOTE = b"x-envoy-tap"


def fields(headers: Pairs, left_out: frozenset[str]) -> list[tuple[str, bytes]]:
    """Return the header fields that a message can carry, without pseudo-headers and those *left_out*.

    A name that is no token is left out; in a value, what would end the line is a space.
    """
    return [
        (name, _BREAKING.sub(b" ", value))
        for name, value in headers
        if TOKEN.fullmatch(name) and name.lower() not in left_out
    ]


def plain(message: Message, left_out: frozenset[str]) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return header fields and the body out of its content codings, which the fields then do not name."""
    return fields(message.headers, left_out | {"content-encoding"}), plain_body(message)


def target(message: Message) -> bytes:
    """Return the request target: the path and query, with what cannot stand in a request line percent-encoded."""
    path = message.first(":path") or b"/"
    return _NOT_A_TARGET.sub(lambda found: b"%%%02X" % found[0][0], path)


def authority(message: Message) -> bytes:
    """Return the request's authority, "" if it has none that could stand in a line."""
    found = message.first(":authority") or message.first("host") or b""
    return b"" if _NOT_A_TARGET.search(found) else found


def request_bytes(entry: Entry) -> bytes:
    """Return the request; empty if it was not captured."""
    request = entry.exchange.request
    if request is None:
        return b""
    head, body = plain(request, FRAMING | {"host"})
    method = (request.first(":method") or b"GET").decode("latin-1")
    line = b"%s %s HTTP/1.1" % (
        method.encode("latin-1") if TOKEN.fullmatch(method) else b"GET",
        target(request),
    )
    own = [("host", authority(request)), *_length(body, always=method in {"POST", "PUT", "PATCH"})]
    return _joined(line, [*own, *head, _note(entry)], body)


def response_bytes(entry: Entry) -> bytes:
    """Return the response; empty if its beginning was not captured."""
    response, request = entry.exchange.response, entry.exchange.request
    status = entry.summary["status"]
    if response is None or status is None:
        return b""
    is_head = request is not None and request.first(":method") == b"HEAD"
    has_body = not (is_head or status // 100 == 1 or status in {204, 304})
    head, body = plain(response, FRAMING if has_body else frozenset())
    line = f"HTTP/1.1 {status:03} {reason(status)}".encode()
    # An upgraded connection goes on with what is no HTTP, without a length.
    rest = body if has_body or status == HTTPStatus.SWITCHING_PROTOCOLS else b""
    return _joined(line, [*head, *(_length(body, always=True) if has_body else []), _note(entry)], rest)


def reason(status: int) -> str:
    """Return the phrase of *status*, "" if it has none."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


def _length(body: bytes, *, always: bool) -> list[tuple[str, bytes]]:
    return [("content-length", str(len(body)).encode())] if body or always else []


def _note(entry: Entry) -> tuple[str, bytes]:
    flags = "".join(f"; {flag}" for flag in entry.summary["flags"])
    return _NOTE.decode(), f"{entry.seq}{flags}".encode()


def _joined(line: bytes, head: Iterable[tuple[str, bytes]], body: bytes) -> bytes:
    lines = [line, *(name.encode() + b": " + value.strip() for name, value in head)]
    return b"\r\n".join([*lines, b"", body])
