"""An exchange as JSON data and back, and its summary: what is stored, listed and exported."""

import base64
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from envoy_tap.core.exchange import Exchange, Facts, Message, Node, Pairs, SocketEvent
from envoy_tap.core.predicate.comparison import is_marked
from envoy_tap.core.predicate.evaluator import joined, trace_id

_PSEUDO = ("method", "scheme", "authority", "path")
# RFC 9110, 15.
_STATUS = re.compile(rb"[0-9]{3}")
_GRPC_STATUS = re.compile(rb"[0-9]{1,2}")
_EMPTY = Message()
_FACTS = tuple(each.name for each in fields(Facts))


def as_object(exchange: Exchange) -> dict[str, Any]:
    r"""Return *exchange* as JSON data.

    `time` and `finished` are RFC 3339 in UTC with microseconds; `trace_id` is a decimal string, as in proto3's JSON
    mapping of uint64; `facts` has those of `exchange.Facts` that the driver tells; a half of which nothing came is
    null. Pseudo-headers are fields (`method`, `status`), not in
    `headers`; a status that is not of three digits is null. What is not UTF-8 is base64: a body is marked by
    `body_encoding`, a header's or trailer's value is `{"base64": "..."}` in place of the string. In a pseudo-header
    such bytes are written as `\xhh`. A connection has `socket`, and no halves: what went `from` the `peer` or the `proxy`,
    in order, each with its time; `encoding` marks base64.
    """
    return {
        "time": _rfc3339(exchange.started_s),
        "finished": _rfc3339(exchange.finished_s),
        "node": {"id": exchange.node.id, "cluster": exchange.node.cluster},
        "tap_id": exchange.tap_id,
        "trace_id": str(exchange.trace_id),
        "source": {
            "address": exchange.source_address or None,
            "principal": exchange.source_principal or None,
        },
        "facts": {name: value for name in _FACTS if (value := getattr(exchange.facts, name))},
        "request": exchange.request and _request(exchange.request),
        "response": exchange.response and _response(exchange.response),
        "flags": {"truncated": exchange.truncated, "incomplete": exchange.incomplete},
        **({} if exchange.socket is None else {"socket": [_event(each) for each in exchange.socket]}),
    }


def exchange_of(data: Mapping[str, Any]) -> Exchange:
    """Return the exchange of which `as_object` made *data*; what it could not say exactly is as it was written."""
    request, response, source = data["request"], data["response"], data["source"]
    return Exchange(
        tap_id=data["tap_id"],
        node=Node(data["node"]["id"], data["node"]["cluster"]),
        trace_id=int(data["trace_id"]),
        request=request and _message(request, {name: request[name] for name in _PSEUDO}),
        response=response and _message(response, {"status": response["status"]}),
        started_s=_unix_s(data["time"]),
        finished_s=_unix_s(data["finished"]),
        truncated=data["flags"]["truncated"],
        incomplete=data["flags"]["incomplete"],
        source_address=source["address"] or "",
        source_principal=source["principal"] or "",
        facts=Facts(**data["facts"]),
        socket=tuple(map(_event_of, data["socket"])) if "socket" in data else None,
    )


def summary(exchange: Exchange, seq: int) -> dict[str, Any]:
    """Return what a list shows of *exchange*, which is number *seq* of its session.

    `duration_ms` is null where an end is missing; bytes are of bodies as captured; `trace_id` is of the request's
    `traceparent` or B3 headers, 32 hexadecimal digits; `flags` are any of truncated, incomplete and redacted. Of a
    connection, `protocol` is socket, the request is what the peer sent, and the response what it was sent.
    """
    request, response = exchange.request or _EMPTY, exchange.response or _EMPTY
    found_trace_id = trace_id(request.headers)
    status = response.first(":status") or b""
    return {
        "seq": seq,
        "session": exchange.tap_id,
        "time": _rfc3339(exchange.started_s),
        "node": {"id": exchange.node.id, "cluster": exchange.node.cluster},
        **{name: _pseudo(request, f":{name}") for name in _PSEUDO},
        "status": int(status) if _STATUS.fullmatch(status) else None,
        "grpc_status": _grpc_status(response),
        "duration_ms": None if exchange.incomplete else round(exchange.latency_s * 1e3, 3),
        "request_bytes": len(request.body) + _socket_bytes(exchange, is_read=True),
        "response_bytes": len(response.body) + _socket_bytes(exchange, is_read=False),
        "request_type": _shown(joined(request.headers, "content-type")),
        "response_type": _shown(joined(response.headers, "content-type")),
        "protocol": exchange.facts.protocol or ("socket" if exchange.socket is not None else None),
        "trace_id": found_trace_id and found_trace_id.decode(),
        "flags": _flags(exchange),
    }


def _flags(exchange: Exchange) -> list[str]:
    found = {
        "truncated": exchange.truncated,
        "incomplete": exchange.incomplete,
        "redacted": any(is_redacted(half) for half in (exchange.request, exchange.response) if half)
        or any(is_marked(event.data) for event in exchange.socket or ()),
    }
    return [name for name, holds in found.items() if holds]


def is_redacted(message: Message) -> bool:
    """Whether something in *message* was replaced before it was stored."""
    values = (message.body, *(value for _, value in (*message.headers, *message.trailers)))
    return any(map(is_marked, values))


def _socket_bytes(exchange: Exchange, *, is_read: bool) -> int:
    return sum(len(event.data) for event in exchange.socket or () if event.is_read is is_read)


def _event(event: SocketEvent) -> dict[str, Any]:
    at = {"time": _rfc3339(event.at_s), "from": "peer" if event.is_read else "proxy"}
    try:
        return {**at, "data": event.data.decode()}
    except UnicodeDecodeError:
        return {**at, "data": base64.b64encode(event.data).decode(), "encoding": "base64"}


def _event_of(data: Mapping[str, Any]) -> SocketEvent:
    is_base64 = data.get("encoding") == "base64"
    sent = base64.b64decode(data["data"]) if is_base64 else data["data"].encode()
    return SocketEvent(_unix_s(data["time"]), data["from"] == "peer", sent)


def _grpc_status(response: Message) -> int | None:
    found = joined(response.trailers, "grpc-status") or joined(response.headers, "grpc-status") or b""
    return int(found) if _GRPC_STATUS.fullmatch(found) else None


def _rfc3339(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _request(message: Message) -> dict[str, Any]:
    pseudo = {name: _pseudo(message, f":{name}") for name in _PSEUDO}
    return {**pseudo, **_content(message)}


def _response(message: Message) -> dict[str, Any]:
    status = message.first(":status") or b""
    return {"status": int(status) if _STATUS.fullmatch(status) else None, **_content(message)}


def _pseudo(message: Message, name: str) -> str | None:
    return _shown(message.first(name))


def _shown(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _content(message: Message) -> dict[str, Any]:
    try:
        body = {"body": message.body.decode()}
    except UnicodeDecodeError:
        body = {"body": base64.b64encode(message.body).decode(), "body_encoding": "base64"}
    headers = tuple((name, value) for name, value in message.headers if not name.startswith(":"))
    return {"headers": _listed(headers), **body, "trailers": _listed(message.trailers)}


def _listed(pairs: Pairs) -> list[list[Any]]:
    return [[name, _text(value)] for name, value in pairs]


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _message(data: Mapping[str, Any], pseudo: Mapping[str, Any]) -> Message:
    named = tuple((f":{name}", str(value).encode()) for name, value in pseudo.items() if value is not None)
    body = data["body"]
    is_base64 = data.get("body_encoding") == "base64"
    return Message(
        named + _pairs(data["headers"]),
        base64.b64decode(body) if is_base64 else body.encode(),
        _pairs(data["trailers"]),
    )


def _pairs(listed: list[list[Any]]) -> Pairs:
    return tuple(
        (name, base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode())
        for name, value in listed
    )
