"""The OpenAPI 3.1 document of the API; a test holds it against the routes. A new route is a new line in `_OPERATIONS`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from envoy_sidecar import __version__
from envoy_tap.access import MAY
from envoy_tap.api.schemas import SCHEMAS
from envoy_tap.export import FORMATS

_JSON = "application/json"
_ERRORS = {
    "400": "The body is not JSON.",
    "401": "No valid bearer token.",
    "403": "The role or the rules do not allow it.",
    "404": "There is no such session or exchange, or it is not yours to see.",
    "409": "Something in it is redacted or cut off; force sends it even so.",
    "413": "The body is too long.",
    "415": "The body must be JSON.",
    "422": "What is asked for cannot be had; `path` says where.",
    "502": "The target does not answer.",
    "503": "Too many watch already.",
    "507": "The store or the audit log refused.",
}
_COMMON = ("401", "403", "507")


@dataclass(frozen=True, slots=True)
class _Operation:
    method: str
    path: str
    name: str
    verb: str
    summary: str
    answer: str | None = None
    status: str = "200"
    query: tuple[str, ...] = ()
    body: str = ""
    media: str = _JSON
    errors: tuple[str, ...] = ()


_SESSION = "/sessions/{id}"
_NONE = ("404",)
_READ = ("404", "422")
_SENT = ("400", "413", "415", "422")
_OPERATIONS = (
    _Operation("get", "/openapi.json", "openapi", "", "This document.", "Document"),
    _Operation("get", "/whoami", "whoami", "view", "Who one is, and what one may do.", "Whoami"),
    _Operation("get", "/sessions", "list", "view", "The sessions one may see, oldest first.", "Sessions"),
    _Operation(
        "post", "/sessions", "start", "start", "Start a session.", "Session", "201",
        body="SessionRequest", errors=_SENT,
    ),
    _Operation("get", _SESSION, "show", "view", "One session, and the proxies it reached.", "Session", errors=_NONE),
    _Operation("delete", _SESSION, "delete", "delete", "End a session and destroy what it captured.", None, "204", errors=_NONE),
    _Operation("post", f"{_SESSION}/stop", "stop", "stop", "End a session.", "Session", errors=_NONE),
    _Operation(
        "post", f"{_SESSION}/approve", "approve", "approve",
        "Let another person's session, which waits for it, begin.", "Session", errors=_READ,
    ),
    _Operation(
        "get", f"{_SESSION}/watch", "watch", "view",
        "The exchanges as they come: server-sent events exchange (a Summary, or with full=1 an Exchange with its seq), "
        "session, deleted, denied (a token or rule does not hold any more) and closing. It goes on after Last-Event-ID.",
        "Events", query=("after", "replay", "filter", "full"), media="text/event-stream", errors=(*_READ, "503"),
    ),
    _Operation(
        "get", f"{_SESSION}/exchanges", "exchanges", "view", "Summaries of exchanges, ascending by seq.",
        "Exchanges", query=("after", "before", "limit", "filter"), errors=_READ,
    ),
    _Operation(
        "get", f"{_SESSION}/exchanges/{{seq}}", "exchange", "view", "One exchange, whole and decoded.",
        "ShownExchange", errors=_NONE,
    ),
    _Operation(
        "post", f"{_SESSION}/exchanges/{{seq}}/replay", "replay", "replay",
        "Send a captured request again, to a target that the service was given.", "Replayed",
        body="ReplayRequest", errors=("400", "404", "409", "413", "415", "422", "502"),
    ),
    _Operation(
        "get", f"{_SESSION}/export", "export", "export", "Exchanges as a file in another tool's format.",
        "File", query=("format", "seq", "filter"), media="*/*", errors=_READ,
    ),
    _Operation(
        "post", "/predicate", "predicate", "view", "Check a predicate, and say who decides which part of it.",
        "Predicate", query=("stored",), body="PredicateRequest", errors=_SENT,
    ),
    _Operation(
        "post", "/preview", "preview", "view", "Count which of the newest exchanges fulfil a predicate.",
        "Preview", body="PredicateRequest", errors=_SENT,
    ),
    _Operation("get", "/nodes", "nodes", "view", "The connected proxies, and the state of their slots.", "Nodes"),
    _Operation("get", "/audit", "audit", "audit", "The last entries of the audit log.", "Audit", query=("entries",), errors=("422",)),
)  # fmt: skip

_NUMBER = {"type": "integer", "minimum": 0}
_QUERY: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "after": ("after", "Only those with a greater seq.", _NUMBER),
    "before": ("before", "Only those with a smaller seq; alone, the last ones of those.", _NUMBER),
    "limit": ("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 500}),
    "entries": ("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    "filter": ("filter", "A predicate that they fulfil.", {"type": "string"}),
    "format": ("format", "Which one.", {"enum": list(FORMATS), "default": "har"}),
    "seq": ("seq", "Only those, as 1,4,7-9.", {"type": "string"}),
    "stored": ("stored", "1: of what is stored, as a filter; it may compare placeholders.", {"enum": ["0", "1"], "default": "0"}),
    "replay": ("replay", "Begin with so many of before.", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 0}),
    "full": ("full", "1: whole exchanges in place of summaries.", {"enum": ["0", "1"], "default": "0"}),
}  # fmt: skip
_PATH = {
    "{id}": {"name": "id", "schema": {"type": "string", "pattern": "^[0-9a-f]{12}$"}},
    "{seq}": {"name": "seq", "schema": {"type": "integer", "minimum": 1}},
}


@cache
def document() -> Mapping[str, Any]:
    """Return the document as JSON data."""
    paths: dict[str, dict[str, Any]] = {}
    for each in _OPERATIONS:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "envoy-tap",
            "version": __version__,
            "summary": "Sessions that capture targeted exchanges from Envoys, and what they captured.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of --tokens, or a JWT of an issuer of --jwt. Without either the API is open on "
                    "loopback only, without a token.",
                }
            },
            "schemas": SCHEMAS,
        },
    }


def _operation(operation: _Operation) -> dict[str, Any]:
    role = MAY[operation.verb].name.lower() if operation.verb else ""
    errors = (*(_COMMON if role else ()), *operation.errors)
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Takes the role {role}." if role else "Takes no token.",
        "responses": {
            operation.status: _answer(operation),
            **{status: _described(_ERRORS[status], _JSON, "Error") for status in sorted(errors)},
        },
    }
    parameters = [
        {"in": "path", "required": True, **parameter}
        for written, parameter in _PATH.items()
        if written in operation.path
    ] + [
        {"in": "query", "name": name, "description": what, "schema": schema}
        for name, what, schema in (_QUERY[each] for each in operation.query)
    ]
    if parameters:
        found["parameters"] = parameters
    if operation.body:
        found["requestBody"] = {"required": True, "content": {_JSON: {"schema": _ref(operation.body)}}}
    if not role:
        found["security"] = []
    return found


def _answer(operation: _Operation) -> dict[str, Any]:
    if operation.answer is None:
        return {"description": "Done."}
    return _described(operation.summary, operation.media, operation.answer)


def _described(what: str, media: str, schema: str) -> dict[str, Any]:
    return {"description": what, "content": {media: {"schema": _ref(schema)}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
