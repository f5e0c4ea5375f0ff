"""The dimensions of a request: each one thing that policies compare, and how it is put into a request.

A value is text, or (of claims and JSON bodies) a number, a boolean, or a tuple for a list; None is absent.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from envoy_authz.commands.asked import Asked, token_of
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.bodies import Unreadable, read_form, read_json
from envoy_authz.core.request import Request

Value = str | int | float | bool | tuple[str, ...] | None

METHOD, PATH, HOST, SCHEME, PORT = "method", "path", "host", "scheme", "port"
PRINCIPAL, ADDRESS, CLIENT, SNI = "principal", "address", "client address", "sni"
NAMESPACE, DESTINATION = "namespace", "destination address"
LABEL, CONTEXT, HEADER, CLAIM, JSON, FORM = "label ", "context ", "header ", "claim ", "json ", "form "
TOKEN, AUDIENCE, PRESENTER = "token", f"{CLAIM}aud", f"{CLAIM}azp"
CONTENT_TYPE = f"{HEADER}content-type"
_SEPARATOR = "\x1f"
_ISSUER = "https://issuer.example"
_FIELDS: Mapping[str, str] = {
    METHOD: "method",
    PATH: "path",
    HOST: "host",
    SCHEME: "scheme",
    PRINCIPAL: "source_principal",
    ADDRESS: "source_address",
    SNI: "sni",
    DESTINATION: "destination_address",
}
_JSON_TYPE, _FORM_TYPE = "application/json", "application/x-www-form-urlencoded"


def below(kind: str, parts: tuple[str, ...]) -> str:
    """Return the dimension of *kind* (`CLAIM`, `JSON`) at *parts* inside its object."""
    return kind + _SEPARATOR.join(parts)


def written(name: str) -> str:
    """Return the name of a dimension for people: `claim realm.role`."""
    return name.replace(_SEPARATOR, ".")


def put(asked: Asked, name: str, value: Value, *, hops: int = 0) -> Asked:
    """Return *asked* with *value* in the dimension *name*; *hops* proxies wrote X-Forwarded-For."""
    request = asked.request
    if name in _FIELDS:
        return replace(asked, request=_field(request, name, value))
    if name == PORT:
        return replace(
            asked, request=replace(request, destination_port=value if isinstance(value, int) else 0)
        )
    if name == CLIENT:
        entries = [str(value), *["203.0.113.1"] * (hops - 1)] if value is not None else []
        return replace(asked, request=_header(request, "x-forwarded-for", ", ".join(entries) or None))
    if name == NAMESPACE:
        return replace(asked, request=_context(request, "namespace", value))
    if name == TOKEN or name.startswith(CLAIM):
        return replace(asked, authentication=_token(asked.authentication, name, value))
    for kind, change in _KINDS.items():
        if name.startswith(kind):
            return replace(asked, request=change(request, name.removeprefix(kind), value))
    raise ValueError(f"{name!r} is no dimension of a request")


def _field(request: Request, name: str, value: Value) -> Request:
    changed: dict[str, Any] = {_FIELDS[name]: "" if value is None else str(value)}
    return replace(request, **changed)


def _header(request: Request, name: str, value: Value) -> Request:
    headers = {key: text for key, text in request.request_headers.items() if key != name}
    return replace(request, request_headers=headers if value is None else {**headers, name: str(value)})


def _context(request: Request, name: str, value: Value) -> Request:
    context = {key: text for key, text in request.context.items() if key != name}
    return replace(request, context=context if value is None else {**context, name: str(value)})


def _label(request: Request, name: str, value: Value) -> Request:
    labels = {key: text for key, text in request.destination_labels.items() if key != name}
    return _context(replace(request, destination_labels=labels), f"labels.{name}", value)


def _json_member(request: Request, name: str, value: Value) -> Request:
    try:
        body = json.loads(request.body) if request.body else {}
    except (ValueError, RecursionError):
        body = {}
    body = _placed(body if isinstance(body, dict) else {}, name.split(_SEPARATOR), value)
    # An empty object is still a body; who has none of its members need not have sent one.
    raw = json.dumps(body).encode() if body else b""
    return _typed(replace(request, body=raw), _JSON_TYPE if raw else None, _JSON_TYPE)


def _form_field(request: Request, name: str, value: Value) -> Request:
    from urllib.parse import parse_qsl, urlencode  # noqa: PLC0415 - few policies read forms

    is_form = request.request_headers.get("content-type", "").startswith(_FORM_TYPE)
    pairs = [] if not is_form else parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True)
    kept = [pair for pair in pairs if pair[0] != name]
    raw = urlencode([*kept, *([] if value is None else [(name, str(value))])]).encode()
    return _typed(replace(request, body=raw), _FORM_TYPE if raw else None, _FORM_TYPE)


def _typed(request: Request, wanted: str | None, ours: str) -> Request:
    known = request.request_headers.get("content-type")
    if wanted is None and known != ours:
        return request
    return _header(request, "content-type", wanted)


def _placed(body: dict[str, Any], parts: list[str], value: Value) -> dict[str, Any]:
    first, *rest = parts
    kept = {key: item for key, item in body.items() if key != first}
    if rest:
        inner = body.get(first)
        inside = _placed(inner if isinstance(inner, dict) else {}, rest, value)
        return {**kept, first: inside} if inside else kept
    return kept if value is None else {**kept, first: list(value) if isinstance(value, tuple) else value}


def _token(authentication: Authentication, name: str, value: Value) -> Authentication:
    """Return *authentication* with its first token changed; what refused a request is forgotten."""
    claims: dict[str, Any] = dict(authentication.tokens[0].claims) if authentication.tokens else {}
    if name == TOKEN:
        if value is None:
            return replace(authentication, tokens=(), refusal=None)
        issuer, _slash, subject = str(value).rpartition("/")
        claims.update(iss=issuer, sub=subject)
    elif value is None and not authentication.tokens:
        return authentication
    else:
        claims = _placed(claims, name.removeprefix(CLAIM).split(_SEPARATOR), value)
        claims = {"iss": _ISSUER, "sub": "somebody", **claims}
    return replace(authentication, tokens=(token_of(claims), *authentication.tokens[1:]), refusal=None)


_KINDS: Mapping[str, Callable[[Request, str, Value], Request]] = {
    LABEL: _label,
    CONTEXT: _context,
    HEADER: _header,
    JSON: _json_member,
    FORM: _form_field,
}


def get(asked: Asked, name: str, *, hops: int = 0) -> Value:
    """Return what stands in the dimension *name* of *asked*; of tokens, in the first one."""
    request, tokens = asked.request, asked.authentication.tokens
    if name in _FIELDS:
        return getattr(request, _FIELDS[name]) or None
    if name == PORT:
        return request.destination_port or None
    if name == CLIENT:
        entries = [entry.strip() for entry in request.request_headers.get("x-forwarded-for", "").split(",")]
        return (entries[-hops] or None) if 0 < hops <= len(entries) else None
    if name == TOKEN:
        return (tokens[0].principal or None) if tokens else None
    if name.startswith(CLAIM):
        return _found(tokens[0].claims if tokens else {}, name.removeprefix(CLAIM))
    return _inside(request, name)


def _inside(request: Request, name: str) -> Value:
    kind = next((one for one in _KINDS if name.startswith(one)), CONTEXT)
    key = name.removeprefix(kind)
    if kind == LABEL:
        return request.context.get(f"labels.{key}", request.destination_labels.get(key))
    if kind == CONTEXT:
        return request.context.get(key)
    if kind == HEADER:
        return request.request_headers.get(key)
    if kind == FORM:
        fields = read_form(request.body)
        values = [] if isinstance(fields, Unreadable) else fields.get(key, [])
        return values[0] if values else None
    body = read_json(request.body)
    return None if isinstance(body, Unreadable) else _found(body, key)


def _found(value: object, path: str) -> Value:
    for part in path.split(_SEPARATOR):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, list):
        return tuple(map(str, value))
    return value if isinstance(value, str | int | float | bool) else None
