"""The keys of `when`: which attribute each names, and what it holds in a request."""

import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from envoy_authz.core.bodies import Unreadable
from envoy_authz.core.facts import Facts

_KEY = re.compile(r"([a-z]+(?:\.[a-zA-Z]+)*)((?:\[[^\[\]]+\])*)")
_PART = re.compile(r"\[([^\[\]]+)\]")
_SPACED = frozenset({"scope", "permission"})

CLIENT_UNKNOWN = "no address of the client is known"
Values = list[str] | Unreadable
"""What an attribute holds; nothing when it is absent."""
Getter = Callable[[Facts], Values]


class Compared(Enum):
    """How the values of a key compare."""

    TEXT = "text"
    PRINCIPAL = "principal"
    HEADER = "header"
    ADDRESS = "address"
    PORT = "port"


class Attribute(NamedTuple):
    """An attribute that `when` may name; *address* is set for those that hold one."""

    compared: Compared
    values: Getter
    parts: tuple[str, ...] = ()


def _one(get: Callable[[Facts], str]) -> Getter:
    def values(facts: Facts) -> Values:
        value = get(facts)
        return [value] if value else []

    return values


def _client(facts: Facts) -> Values:
    client = facts.remote_ip
    return Unreadable(CLIENT_UNKNOWN) if client is None else [str(client)]


_PLAIN: Mapping[str, tuple[Compared, Getter]] = {
    "source.ip": (Compared.ADDRESS, _one(lambda facts: str(facts.source_ip or ""))),
    "remote.ip": (Compared.ADDRESS, _client),
    "source.namespace": (Compared.TEXT, _one(lambda facts: facts.source.namespace)),
    "source.serviceAccount": (Compared.TEXT, _one(lambda facts: facts.source.account)),
    "source.trustDomain": (Compared.TEXT, _one(lambda facts: facts.source.trust_domain)),
    "source.principal": (Compared.PRINCIPAL, _one(lambda facts: facts.caller)),
    "request.auth.principal": (Compared.TEXT, lambda facts: facts.request_principals),
    "request.auth.audiences": (
        Compared.TEXT,
        lambda facts: [audience for token in facts.tokens for audience in sorted(token.audiences)],
    ),
    "request.auth.presenter": (
        Compared.TEXT,
        lambda facts: [token.presenter for token in facts.tokens if token.presenter],
    ),
    "destination.ip": (Compared.ADDRESS, _one(lambda facts: str(facts.destination_ip or ""))),
    "destination.port": (Compared.PORT, _one(lambda facts: str(facts.request.destination_port or ""))),
    "connection.sni": (Compared.TEXT, _one(lambda facts: facts.request.sni)),
}
_WITH_PARTS = ("request.headers", "request.auth.claims", "request.body.json", "request.body.form")
OURS = frozenset({"request.body.json", "request.body.form", "source.trustDomain"})
"""Keys that Istio does not have."""
KEYS = (*_PLAIN, *(f"{name}[…]" for name in _WITH_PARTS))


def name_of(key: str) -> str:
    """Return *key* without what is in its brackets."""
    return key.partition("[")[0]


def parse_key(key: str) -> Attribute:
    """Return the attribute that *key* names; raises ValueError, with what would be right, if there is none."""
    match = _KEY.fullmatch(key)
    name, parts = (match[1], tuple(_PART.findall(match[2]))) if match else (key, ())
    if name in _PLAIN and not parts:
        return Attribute(*_PLAIN[name])
    if name not in _WITH_PARTS or not parts:
        raise ValueError(f"{key!r} is no attribute of a request")
    if name == "request.auth.claims":
        return Attribute(Compared.TEXT, _claims(parts), parts)
    if name == "request.body.json":
        return Attribute(Compared.TEXT, _json(parts), parts)
    if len(parts) != 1:
        raise ValueError(f"{key!r} has more than one name in brackets")
    if name == "request.headers":
        header = parts[0].lower()
        return Attribute(Compared.HEADER, lambda facts: _header(facts, header), parts)
    return Attribute(Compared.TEXT, lambda facts: _field(facts, parts[0]), parts)


def _header(facts: Facts, name: str) -> Values:
    request = facts.request
    if name in {":authority", "host"}:  # to Envoy they are one header, and it sends the former
        value: str | None = request.host
    elif name == ":method":
        value = request.method
    elif name == ":path":
        value = request.path
    elif name == ":scheme":
        value = request.scheme
    else:
        value = request.header(name)
    return [] if value is None else [value]


def _claims(parts: tuple[str, ...]) -> Getter:
    def values(facts: Facts) -> Values:
        found: list[str] = []
        for token in facts.tokens:
            value = look_up(token.claims, parts)
            if isinstance(value, str) and parts[-1] in _SPACED:
                found.extend(dict.fromkeys((value, *value.split())))
            else:
                found.extend(texts(value))
        return found

    return values


def _json(parts: tuple[str, ...]) -> Getter:
    def values(facts: Facts) -> Values:
        body = facts.json
        return body if isinstance(body, Unreadable) else texts(look_up(body, parts))

    return values


def _field(facts: Facts, name: str) -> Values:
    form = facts.form
    return form if isinstance(form, Unreadable) else form.get(name, [])


def look_up(value: object, parts: tuple[str, ...]) -> object:
    """Return what stands at *parts* inside JSON objects and, by number, arrays; None if nothing does."""
    for part in parts:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 8:  # noqa: PLR2004 - no int of a page
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def texts(value: object) -> list[str]:
    """Return a JSON scalar as text, or those of an array; objects and null are nothing."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value if not isinstance(item, list) for text in texts(item)]
    if isinstance(value, bool | int | float):
        try:
            return [json.dumps(value)]
        except ValueError:  # an integer of more than 4,300 digits
            return []
    return []
