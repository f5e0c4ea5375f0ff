"""HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec), as browsers import it."""

import base64
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from envoy_tap.core.decode.body import plain_body
from envoy_tap.core.exchange import Message, Pairs
from envoy_tap.core.predicate.evaluator import joined
from envoy_tap.export.http1 import authority, reason, target
from envoy_tap.export.model import About, Entry, told

# RFC 3986, 3.2.2 and 3.2.3, without a user.
_AUTHORITY = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?"
)
_NOWHERE = "unknown.invalid"
_MAX_FIELDS = 1000
_NOT_KNOWN = -1
_BASE64 = "base64"
_TIMINGS = "only the whole time is known: it stands in wait"


def write(entries: Iterable[Entry], about: About) -> Iterator[bytes]:
    """Yield one HAR; what is truncated, incomplete or redacted says so in its entry's comment."""
    log = {
        "version": "1.2",
        "creator": {"name": "envoy-tap", "version": about.version},
        "comment": about.title,
    }
    yield json.dumps({"log": log})[:-2].encode() + b', "entries": [\n'
    comma = b""
    for each in entries:
        yield comma + json.dumps(told(each, _entry, _failed)).encode()
        comma = b",\n"
    yield b"\n]}}\n"


def _entry(entry: Entry) -> dict[str, Any]:
    exchange = entry.exchange
    time_ms = round(exchange.latency_s * 1e3, 3)
    found = {
        "startedDateTime": entry.stored["time"],
        "time": time_ms,
        "request": _request(exchange.request or Message(), exchange.facts.protocol),
        "response": _response(exchange.response or Message(), exchange.facts.protocol),
        "cache": {},
        "timings": {"send": 0, "wait": time_ms, "receive": 0, "comment": _TIMINGS},
        "comment": "; ".join(
            [
                f"exchange {entry.seq}, seen by {exchange.node.id}",
                *_made_up(exchange.request),
                *entry.caveats,
            ]
        ),
        "_seq": entry.seq,
        "_node": entry.stored["node"],
    }
    address = exchange.facts.upstream.rpartition(":")[0].strip("[]")
    return found | ({"serverIPAddress": address} if address else {})


def _failed(entry: Entry, problem: str) -> dict[str, Any]:
    nothing = Message()
    return {
        "startedDateTime": "1970-01-01T00:00:00Z",
        "time": 0,
        "request": _request(nothing, ""),
        "response": _response(nothing, ""),
        "cache": {},
        "timings": {"send": 0, "wait": 0, "receive": 0},
        "comment": problem,
        "_seq": entry.seq,
    }


def _made_up(request: Message | None) -> list[str]:
    host = b"" if request is None else request.first(":authority") or request.first("host") or b""
    if not host or _host(host.decode("latin-1")):
        return []
    return [f"its host {_text(host)!r} can stand in no URL: {_NOWHERE} does"]


def _request(request: Message, protocol: str) -> dict[str, Any]:
    url = url_of(request)
    body = plain_body(request)
    found = {
        "method": _text(request.first(":method")) or "UNKNOWN",
        "url": url,
        "httpVersion": protocol or "unknown",
        "cookies": _cookies(joined(request.headers, "cookie") or b""),
        "headers": _headers(request.headers),
        "queryString": [{"name": name, "value": value} for name, value in _pairs(_query(url))],
        "headersSize": _NOT_KNOWN,
        "bodySize": len(request.body),
    }
    return found | ({"postData": _posted(request, body)} if body else {})


def _posted(request: Message, body: bytes) -> dict[str, Any]:
    mime_type = _text(joined(request.headers, "content-type"))
    text, encoding = _body_text(body)
    # HAR has no encoding of what is posted; a field of one's own begins with an underscore.
    said = {"comment": "the body is not text: it is in base64", "_encoding": encoding} if encoding else {}
    return {"mimeType": mime_type, "params": [], "text": text, **said}


def _response(response: Message, protocol: str) -> dict[str, Any]:
    status = response.first(":status") or b""
    number = int(status) if re.fullmatch(rb"[0-9]{3}", status) else 0
    body = plain_body(response)
    text, encoding = _body_text(body)
    content = {
        "size": len(body),
        "mimeType": _text(joined(response.headers, "content-type")),
        "text": text,
        **({"encoding": encoding} if encoding else {}),
    }
    return {
        "status": number,
        "statusText": reason(number),
        "httpVersion": protocol or "unknown",
        "cookies": [
            each
            for name, value in response.headers
            if name == "set-cookie"
            for each in _cookies(value.partition(b";")[0])
        ],
        "headers": _headers(response.headers),
        "content": content,
        "redirectURL": _text(response.first("location")),
        "headersSize": _NOT_KNOWN,
        "bodySize": len(response.body),
    }


def url_of(request: Message) -> str:
    """Return the absolute URL of *request*; what it does not say is made up: http, and `unknown.invalid`."""
    scheme = _text(request.first(":scheme"))
    host = authority(request).decode("latin-1")
    path = target(request).decode("latin-1")
    known = scheme if scheme in {"http", "https"} else "http"
    return f"{known}://{_host(host) or _NOWHERE}{path if path.startswith('/') else '/'}"


def _host(text: str) -> str:
    """Return *text*, "" if no URL can have it as its authority."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return ""
    if found[1] is not None:
        try:
            ipaddress.IPv6Address(found[1])
        except ValueError:
            return ""
    return text


def _body_text(body: bytes) -> tuple[str, str]:
    try:
        return body.decode(), ""
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), _BASE64


def _headers(pairs: Pairs) -> list[dict[str, str]]:
    return [{"name": name, "value": _text(value)} for name, value in pairs if not name.startswith(":")]


def _cookies(value: bytes) -> list[dict[str, str]]:
    found = []
    for pair in _text(value).split(";")[:_MAX_FIELDS]:
        name, equals, content = pair.strip().partition("=")
        if equals:
            found.append({"name": name, "value": content})
    return found


def _query(url: str) -> str:
    return url.partition("#")[0].partition("?")[2]


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return []


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")
