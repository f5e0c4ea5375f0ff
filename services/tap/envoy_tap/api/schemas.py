"""What the API takes and gives, as JSON Schema (2020-12), for its OpenAPI document; a test holds answers against it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from envoy_tap.core.session import MAXIMA, Limits, State

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_WARNINGS: Schema = {
    **_TEXTS,
    "description": "Of conditions that look for what is redacted before they are judged.",
}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _list_of(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_LIMITS: Schema = {
    "type": "object",
    "properties": {
        each.name: {
            "type": "integer",
            "minimum": 0 if each.name == "body_bytes" else 1,
            "maximum": getattr(MAXIMA, each.name),
            "default": each.default,
        }
        for each in fields(Limits)
    },
    "additionalProperties": False,
}
_SELECTOR: Schema = {
    "type": "object",
    "properties": {
        "ids": {**_TEXTS, "description": "Ids of proxies, * is any text."},
        "clusters": {**_TEXTS, "description": "node.cluster of proxies, * is any text."},
        "metadata": {"type": "object", "additionalProperties": _TEXT},
        "locality": _object({}, {"region": _TEXT, "zone": _TEXT, "sub_zone": _TEXT}),
    },
    "additionalProperties": False,
}
_REDACTION: Schema = {
    "type": "object",
    "description": "What is redacted beside the defaults.",
    "properties": {
        **dict.fromkeys(("headers", "query", "names", "paths"), _TEXTS),
        "patterns": {"type": "array", "items": {"type": "string"}},
        "style": {"enum": ["mask", "hmac"]},
    },
    "additionalProperties": False,
}
_NODE = _object({"id": _TEXT, "cluster": _TEXT})
_SLOT = {
    **_NODE["properties"],
    "sent_version": _TEXT,
    "acked_version": _TEXT,
    "nack": {**_TEXT, "description": "Envoy's own words on why it refused the slot, empty if it did not."},
}
_SOCKET: Schema = {**_FLAG, "description": "The bytes of connections, in place of HTTP exchanges."}
_EVENTS: Schema = {
    "type": "array",
    "description": "A connection's bytes, in order.",
    "items": _object(
        {"time": _TEXT, "from": {"enum": ["peer", "proxy"]}, "data": _TEXT},
        {"encoding": {"enum": ["base64"]}},
    ),
}
_WHY: Schema = {**_TEXT, "minLength": 1, "maxLength": 500, "description": "Why; it is kept."}
_PAIRS: Schema = {"type": "array", "items": {"type": "array", "prefixItems": [_TEXT, {}]}}
_CONTENT: Mapping[str, Schema] = {"headers": _PAIRS, "body": _TEXT, "trailers": _PAIRS}
_OPTIONAL_CONTENT: Mapping[str, Schema] = {"body_encoding": {"enum": ["base64"]}}
_PSEUDO: Mapping[str, Schema] = {name: _or_null(_TEXT) for name in ("method", "scheme", "authority", "path")}

SCHEMAS: Mapping[str, Schema] = {
    "Error": _object(
        {"error": _object({"message": _TEXT}, {"path": _TEXT, "hint": _TEXT, "position": _COUNT})}
    ),
    "Document": {"type": "object"},
    "Events": {"type": "string"},
    "File": {},
    "Whoami": _object({"name": _TEXT, "role": _TEXT, "teams": _TEXTS, "may": _TEXTS}),
    "SessionRequest": {
        **_object(
            {"why": _WHY},
            {
                "predicate": _TEXT,
                "nodes": _SELECTOR,
                "limits": _LIMITS,
                "redaction": _REDACTION,
                "socket": _SOCKET,
            },
        ),
        "additionalProperties": False,
    },
    "Session": _object(
        {
            "id": _TEXT,
            "who": _TEXT,
            "subject": _TEXT,
            "why": _TEXT,
            "predicate": _TEXT,
            "nodes": _SELECTOR,
            "limits": _LIMITS,
            "redaction": _REDACTION,
            "socket": _SOCKET,
            "team": _TEXT,
            "paths": _TEXTS,
            "needs_approval": _FLAG,
            "approved_by": _TEXT,
            "created_at_s": _NUMBER,
            "expires_at_s": _COUNT,
            "state": {"enum": [str(state) for state in State]},
            "ended_at_s": _or_null(_NUMBER),
            "ended_by": _TEXT,
            "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
            "may": {
                "type": "array",
                "items": {"enum": ["approve", "stop", "delete"]},
                "description": "What the one who asks may do to it, in whatever state it is.",
            },
        },
        {"reached": {"type": "array", "items": _object(_SLOT)}, "warnings": _WARNINGS},
    ),
    "Sessions": _object({"sessions": _list_of("Session")}),
    "Summary": _object(
        {
            "seq": _COUNT,
            "session": _TEXT,
            "time": _TEXT,
            "node": _NODE,
            **_PSEUDO,
            "status": _or_null(_COUNT),
            "grpc_status": _or_null(_COUNT),
            "duration_ms": _or_null(_NUMBER),
            "request_bytes": _COUNT,
            "response_bytes": _COUNT,
            "request_type": _or_null(_TEXT),
            "response_type": _or_null(_TEXT),
            "protocol": _or_null(_TEXT),
            "trace_id": _or_null(_TEXT),
            "flags": _TEXTS,
        }
    ),
    "Exchanges": _object(
        {
            "exchanges": _list_of("Summary"),
            "last": {**_COUNT, "description": "The number of the session's newest exchange."},
            "next": {
                **_or_null(_COUNT),
                "description": "Where to go on: as after, or as before if that alone was given.",
            },
        }
    ),
    "Exchange": _object(
        {
            "time": _TEXT,
            "finished": _TEXT,
            "node": _NODE,
            "tap_id": _TEXT,
            "trace_id": _TEXT,
            "source": _object({"address": _or_null(_TEXT), "principal": _or_null(_TEXT)}),
            "facts": {"type": "object", "additionalProperties": _TEXT},
            "request": _or_null(_object({**_PSEUDO, **_CONTENT}, _OPTIONAL_CONTENT)),
            "response": _or_null(_object({"status": _or_null(_COUNT), **_CONTENT}, _OPTIONAL_CONTENT)),
            "flags": _object({"truncated": _FLAG, "incomplete": _FLAG}),
        },
        {"socket": _EVENTS},
    ),
    "ShownExchange": _object(
        {
            "summary": _ref("Summary"),
            "exchange": _ref("Exchange"),
            "decoded": {"type": "object", "properties": {"request": {}, "response": {}}},
            "redactions": {"type": "array", "items": {"type": "object"}},
        }
    ),
    "PredicateRequest": {**_object({"predicate": _TEXT}), "additionalProperties": False},
    "Predicate": _object({"predicate": _TEXT, "proxy": _TEXT, "collector": _TEXT, "warnings": _WARNINGS}),
    "Preview": _object({"of": _COUNT, "matches": _COUNT}),
    "Nodes": _object({"nodes": {"type": "array", "items": _object({**_SLOT, "sessions": _TEXTS})}}),
    "ReplayRequest": {**_object({"to": _TEXT}, {"force": _FLAG}), "additionalProperties": False},
    "Replayed": _object(
        {
            "sent": _object(
                {
                    "method": _TEXT,
                    "url": _TEXT,
                    "headers": {"type": "array", "items": _TEXTS},
                    "body_bytes": _COUNT,
                    "doubts": _TEXTS,
                }
            ),
            "answer": _object(
                {
                    "response": {"type": "object"},
                    "decoded": {"type": "object"},
                    "truncated": _FLAG,
                    "took_ms": _NUMBER,
                    "captured_status": _or_null(_COUNT),
                    "same_body": _FLAG,
                }
            ),
        }
    ),
    "Audit": _object({"entries": _list_of("AuditEntry")}),
    "AuditEntry": _object(
        {
            "seq": _COUNT,
            "time": _TEXT,
            "who": _TEXT,
            "role": _TEXT,
            "action": _TEXT,
            "session": _TEXT,
            "outcome": {"enum": ["ok", "denied"]},
            "detail": {"type": "object"},
            "hash": _TEXT,
        }
    ),
}
