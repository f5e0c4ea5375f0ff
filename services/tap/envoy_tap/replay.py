"""Sends a captured request again, with care: to the one target that is given, saying ahead what is sent.

Nothing is followed, no proxy of the environment is used, TLS is verified, and what is read of the answer is bounded.
"""

import re
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from envoy_tap.core.decode import as_object as body_objects
from envoy_tap.core.decode import decoded
from envoy_tap.core.decode.body import plain_body
from envoy_tap.core.exchange import Exchange, Message, Pairs
from envoy_tap.core.predicate.evaluator import joined
from envoy_tap.core.record import as_object, is_redacted
from envoy_tap.export.http1 import FRAMING, HOP_BY_HOP, TOKEN, plain, target

MARK = "x-envoy-tap-replay"
TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 1 << 20
_LEFT_OUT = HOP_BY_HOP | FRAMING | {"host", "expect", "proxy-authorization"}
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_MAX_PORT = 65535


class ReplayError(ValueError):
    """A request that is not sent, or a target that is none; the message says why, and what would be right."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: the host is never another one than this. `prefix` stands before the captured path."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the target that a URL names (`https://staging.example/base`); raises ReplayError."""
        hint = "write http://HOST:PORT or https://HOST, and a path to put before the captured one"
        try:
            url = urlsplit(text)
            port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
        except ValueError:
            raise ReplayError(f"{text!r} is no URL; {hint}") from None
        if url.scheme not in {"http", "https"} or not _HOST.fullmatch(url.hostname or ""):
            raise ReplayError(f"{text!r} names no HTTP server; {hint}")
        if url.query or url.fragment or "@" in url.netloc or not _PREFIX.fullmatch(url.path):
            raise ReplayError(f"{text!r} has more than a host and a path; {hint}")
        return cls(url.scheme, url.hostname or "", port, url.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """What stands in the host header, and in the URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port == {"http": 80, "https": 443}[self.scheme]
        return host if is_default else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is sent. `doubts` say what is not as it was captured, so that one must want it even so."""

    method: str
    to: Target
    path: bytes
    headers: tuple[tuple[str, bytes], ...]
    body: bytes
    doubts: tuple[str, ...]

    @property
    def url(self) -> str:
        """The whole URL, for people."""
        return f"{self.to.scheme}://{self.to.authority}{self.path.decode('latin-1')}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: header values as bytes, the body out of its content coding as far as it was read."""

    message: Message
    status: int
    truncated: bool
    took_s: float


def prepare(exchange: Exchange, to: Target, mark: str) -> Prepared:
    """Return what sending the request of *exchange* to *to* means; raises ReplayError for what cannot be sent.

    Hop-by-hop fields are left out (RFC 9110, 7.6.1), host and length are said anew, and *mark* is added, by which
    a server can tell a replay.
    """
    request = exchange.request
    if request is None:
        raise ReplayError("its request was not captured")
    method = (request.first(":method") or b"").decode("latin-1")
    media_type = (joined(request.headers, "content-type") or b"").lower()
    if not TOKEN.fullmatch(method) or method == "CONNECT" or joined(request.headers, "upgrade"):
        raise ReplayError(
            f"{method or 'a request without a method'} cannot be sent again: it is no plain HTTP request"
        )
    if media_type.startswith(b"application/grpc"):
        raise ReplayError("it is gRPC, which takes HTTP/2 and its trailers: use grpcurl")
    nominated = {name.strip().lower() for name in _text(joined(request.headers, "connection")).split(",")}
    headers, body = plain(request, _LEFT_OUT | nominated)
    headers = [pair for pair in headers if pair[0] != MARK]
    path = target(request)
    if not path.startswith(b"/"):
        raise ReplayError(f"its target is no path: {path[:80].decode('latin-1')!r}")
    if to.prefix and _climbs(path):
        raise ReplayError(
            f"its path has .. in it, by which it would leave {to}: {path[:80].decode('latin-1')!r}"
        )
    doubts = tuple(_doubts(exchange, request, body))
    own = (("host", to.authority.encode()), (MARK, mark.encode()))
    return Prepared(method, to, to.prefix.encode() + path, (*own, *headers), body, doubts)


def send(prepared: Prepared, ca: Path | None = None) -> Answer:
    """Send it and return the answer; raises ReplayError if there is none. *ca*: PEM of who signs the target's name."""
    with httpx.Client(
        trust_env=False, follow_redirects=False, timeout=TIMEOUT_S, verify=_verified(prepared.to, ca)
    ) as client:
        request = httpx.Request(
            prepared.method,
            str(httpx.URL(scheme=prepared.to.scheme, host=prepared.to.host, port=prepared.to.port)),
            headers=[(name.encode(), value) for name, value in prepared.headers] + _length(prepared),
            content=prepared.body or None,
            # Byte for byte: a URL would have its dots and its percent signs put in order.
            extensions={"target": prepared.path, "timeout": httpx.Timeout(TIMEOUT_S).as_dict()},
        )
        try:
            answer = client.send(request, stream=True)
            try:
                body, truncated = _read(answer)
            finally:
                answer.close()
        except (httpx.HTTPError, ValueError) as error:
            raise ReplayError(f"no answer from {prepared.to}: {str(error) or type(error).__name__}") from None
    pairs: Pairs = tuple((name.decode("latin-1").lower(), value) for name, value in answer.headers.raw)
    message = Message(((":status", str(answer.status_code).encode()), *pairs), body)
    return Answer(message, answer.status_code, truncated, answer.elapsed.total_seconds())


def sent_object(prepared: Prepared) -> dict[str, Any]:
    """Return what is sent, as JSON data."""
    return {
        "method": prepared.method,
        "url": prepared.url,
        "headers": [[name, _text(value)] for name, value in prepared.headers],
        "body_bytes": len(prepared.body),
        "doubts": list(prepared.doubts),
    }


def answer_object(exchange: Exchange, answer: Answer) -> dict[str, Any]:
    """Return what came back beside what *exchange* had got, as JSON data; a body may be the same though its head is not."""
    answered = replace(exchange, response=answer.message, truncated=answer.truncated)
    captured = exchange.response
    status = captured.first(":status") if captured else None
    return {
        "response": as_object(answered)["response"],
        "decoded": body_objects(decoded(answered))["response"],
        "truncated": answer.truncated,
        "took_ms": round(answer.took_s * 1e3, 1),
        "captured_status": int(status) if status and status.isdigit() else None,
        "same_body": captured is not None and plain_body(captured) == plain_body(answer.message),
    }


def _climbs(path: bytes) -> bool:
    """Whether a server that reads *path* in one way or another may end above where it begins."""
    depth = 0
    for segment in unquote_to_bytes(path.partition(b"?")[0]).replace(b"\\", b"/").split(b"/"):
        name = segment.partition(b";")[0]
        depth += -1 if name == b".." else name not in {b"", b"."}
        if depth < 0:
            return True
    return False


def _doubts(exchange: Exchange, request: Message, body: bytes) -> list[str]:
    found = []
    said = _text(joined(request.headers, "content-length"))
    if exchange.truncated and said != str(len(request.body)):
        found.append(f"its body is truncated: {len(body)} bytes of {said or 'more'} were captured")
    if is_redacted(request):
        where = [name for name, value in request.headers if is_redacted(Message(((name, value),)))]
        where += ["the body"] if is_redacted(Message((), request.body)) else []
        found.append(f"what was redacted is sent as the placeholder: {', '.join(where)}")
    if exchange.incomplete and exchange.response is not None and exchange.response.first(":status") is None:
        found.append("it was not captured to its end")
    return found


def _read(answer: httpx.Response) -> tuple[bytes, bool]:
    found = bytearray()
    # As sent: what it is packed in is taken off with the same bounds as all that is captured.
    for piece in answer.iter_raw():
        found += piece
        if len(found) > MAX_ANSWER_BYTES:
            return bytes(found[:MAX_ANSWER_BYTES]), True
    return bytes(found), False


def _length(prepared: Prepared) -> list[tuple[bytes, bytes]]:
    has_length = prepared.body or prepared.method in {"POST", "PUT", "PATCH"}
    return [(b"content-length", str(len(prepared.body)).encode())] if has_length else []


def _verified(to: Target, ca: Path | None) -> ssl.SSLContext | bool:
    if to.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ReplayError(f"{ca}: {error.strerror or 'holds no certificate'}") from None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")
