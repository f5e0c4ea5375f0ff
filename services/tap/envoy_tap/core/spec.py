"""Sessions as JSON data: what an operator asks for, and what is stored. Nothing that is not understood is passed over."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from envoy_tap.core.node import Locality, NodeSelector
from envoy_tap.core.predicate import Expr, PredicateError, parse, printed
from envoy_tap.core.predicate.fields import Kind, known_to_envoy, spec_of
from envoy_tap.core.predicate.jsonpath import steps
from envoy_tap.core.predicate.model import conditions
from envoy_tap.core.predicate.parser import Refusal, first_of
from envoy_tap.core.probing import refusal
from envoy_tap.core.redaction.rules import Pattern, Redaction, Style
from envoy_tap.core.session import MAXIMA, Limits, Session, SessionError

_FIELDS = ("why", "predicate", "nodes", "limits", "redaction", "socket")
_OF_CONNECTIONS = frozenset({Kind.ADDRESS, Kind.SAMPLE, Kind.FIRST})
_SETS = ("headers", "query", "names", "paths")
_T = TypeVar("_T", Pattern, Style)
_MAX_WHY_CHARS = 500
_MAX_TEXT_CHARS = 256
_MAX_ITEMS = 64
_DEFAULT = Redaction()


def requested(
    data: Any,
    *,
    session_id: str,
    who: str,
    now_s: float,
    maxima: Limits = MAXIMA,
    never_headers: frozenset[str] = frozenset(),
) -> Session:
    """Return the session that *data* asks for, from *now_s* on; raises SessionError with the place of what is wrong.

    Its predicate can compare nothing that it redacts, and ask nothing of *never_headers*.
    """
    session = _read(data, session_id, who, now_s, maxima)
    read_predicate(data.get("predicate", "all"), refusal(session.redaction, never_headers))
    return session


def _read(data: Any, session_id: str, who: str, now_s: float, maxima: Limits) -> Session:
    found = _mapping(data, "session", _FIELDS)
    predicate = read_predicate(found.get("predicate", "all"))
    limits = _limits(found.get("limits", {}))
    first = first_of(predicate)
    if first is not None:
        limits = Limits(**{**asdict(limits), "exchanges": min(first, limits.exchanges)})
    limits.check(maxima)
    return Session(
        id=session_id,
        who=who,
        why=_why(found.get("why")),
        predicate=predicate,
        created_at_s=now_s,
        expires_at_s=math.ceil(now_s) + limits.duration_s,
        nodes=_nodes(found.get("nodes", {})),
        limits=limits,
        redaction=_redaction(found.get("redaction", {})),
        socket=_socket(found.get("socket", False), predicate),
    )


def as_object(session: Session) -> dict[str, Any]:
    """Return *session* as JSON data; `stored` reads it back."""
    redaction = session.redaction
    return {
        "id": session.id,
        "who": session.who,
        "subject": session.subject,
        "why": session.why,
        "predicate": printed(session.predicate),
        "nodes": {
            "ids": list(session.nodes.ids),
            "clusters": list(session.nodes.clusters),
            "metadata": dict(session.nodes.metadata),
            "locality": asdict(session.nodes.locality),
        },
        "limits": asdict(session.limits),
        "redaction": {
            **{name: sorted(_added(redaction, name)) for name in _SETS},
            "patterns": sorted(redaction.patterns),
            "style": str(redaction.style),
        },
        "socket": session.socket,
        "team": session.team,
        "paths": list(session.paths),
        "needs_approval": session.needs_approval,
        "created_at_s": session.created_at_s,
        "expires_at_s": session.expires_at_s,
    }


def stored(data: Mapping[str, Any]) -> Session:
    """Return the session that `as_object` made *data* of; raises SessionError, KeyError or TypeError."""
    created_at_s, expires_at_s = data["created_at_s"], data["expires_at_s"]
    if not isinstance(created_at_s, int | float) or not isinstance(expires_at_s, int):
        raise SessionError("expires_at_s", "is not a number")
    asked = {name: data[name] for name in _FIELDS if name != "socket"} | {"socket": data.get("socket", False)}
    session = _read(asked, _text(data["id"], "id"), _text(data["who"], "who"), created_at_s, MAXIMA)
    # The end that was said counts, should the clock or a default have been another.
    return replace(
        session,
        expires_at_s=expires_at_s,
        subject=_optional_text(data.get("subject", ""), "subject"),
        team=_optional_text(data["team"], "team"),
        paths=tuple(_texts(data["paths"], "paths")),
        needs_approval=bool(data["needs_approval"]),
    )


def _socket(value: Any, predicate: Expr) -> bool:
    wanted: bool = _checked(value, bool, "socket", "true or false")
    for each in conditions(predicate) if wanted else ():
        if spec_of(each.field).kind not in _OF_CONNECTIONS:
            raise SessionError(
                "predicate",
                f"{each.field.name} is of an HTTP exchange, and the session is of connections",
                "source.address, sample() and first() can be asked of them",
            )
    return wanted


def _why(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SessionError(
            "why", "a session needs a reason", "say why, for those who read the log: a ticket, an incident"
        )
    why = value.strip()
    if len(why) > _MAX_WHY_CHARS or not why.isprintable():
        raise SessionError("why", f"is one line of at most {_MAX_WHY_CHARS} characters")
    return why


def read_predicate(value: Any, refused: Refusal | None = None) -> Expr:
    """Return the predicate that *value*, a text, says; raises SessionError, also for what is *refused*."""
    try:
        return parse(_checked(value, str, "predicate", "text"), refused)
    except PredicateError as error:
        where = f"{error.line}:{error.column}"
        raise SessionError("predicate", f"{where}: {error.message}", error.hint, error.offset) from None


def _limits(value: Any) -> Limits:
    names = [each.name for each in fields(Limits)]
    found = _mapping(value, "limits", names)
    for name, number in found.items():
        if not isinstance(number, int) or isinstance(number, bool):
            raise SessionError(f"limits.{name}", f"{number!r} is not a whole number")
    return Limits(**found)


def _nodes(value: Any) -> NodeSelector:
    found = _mapping(value, "nodes", ("ids", "clusters", "metadata", "locality"))
    metadata = _checked(found.get("metadata", {}), dict, "nodes.metadata", "a mapping of texts")
    place = _mapping(found.get("locality", {}), "nodes.locality", [each.name for each in fields(Locality)])
    if len(metadata) > _MAX_ITEMS:
        raise SessionError("nodes.metadata", f"has more than {_MAX_ITEMS} entries")
    return NodeSelector(
        tuple(_texts(found.get("ids", []), "nodes.ids")),
        tuple(_texts(found.get("clusters", []), "nodes.clusters")),
        tuple(
            sorted(
                (_text(key, "nodes.metadata"), _text(label, f"nodes.metadata.{key}"))
                for key, label in metadata.items()
            )
        ),
        Locality(**{key: _optional_text(text, f"nodes.locality.{key}") for key, text in place.items()}),
    )


def _redaction(value: Any) -> Redaction:
    found = _mapping(value, "redaction", (*_SETS, "patterns", "style"))
    sets = {name: _texts(found.get(name, []), f"redaction.{name}") for name in _SETS}
    for path in sets["paths"]:
        try:
            steps(path)
        except ValueError as error:
            raise SessionError("redaction.paths", str(error), "write it as cards[*].number") from None
    patterns = found.get("patterns", list(Pattern))
    asked = {
        name: frozenset(text if name == "paths" else text.lower() for text in sets[name]) for name in _SETS
    }
    asked["headers"] = known_to_envoy(asked["headers"])
    return Redaction(
        **{name: getattr(_DEFAULT, name) | asked[name] for name in _SETS},
        patterns=_DEFAULT.patterns
        | frozenset(
            _one_of(Pattern, text, "redaction.patterns") for text in _texts(patterns, "redaction.patterns")
        ),
        style=_one_of(Style, found.get("style", Style.MASK), "redaction.style"),
    )


def _added(redaction: Redaction, name: str) -> frozenset[str]:
    """Return what was asked for beside the defaults; `_redaction` reads it back."""
    found: frozenset[str] = getattr(redaction, name) - getattr(_DEFAULT, name)
    return found - known_to_envoy({"host"}) | {"host"} if name == "headers" and "host" in found else found


def _one_of(kind: Callable[[Any], _T], value: Any, path: str) -> _T:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(Pattern if kind is Pattern else Style)
        raise SessionError(path, f"{value!r} is not known", f"known are {known}") from None


def _mapping(value: Any, path: str, known: Any) -> dict[str, Any]:
    found: dict[str, Any] = _checked(value, dict, path, "a mapping")
    for key in found:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise SessionError(path, f"{key!r} is not known here", hint)
    return found


def _texts(value: Any, path: str) -> list[str]:
    items: list[Any] = _checked(value, list, path, "a list of texts")
    if len(items) > _MAX_ITEMS:
        raise SessionError(path, f"has more than {_MAX_ITEMS} entries")
    return [_text(item, path) for item in items]


def _text(value: Any, path: str) -> str:
    text = _optional_text(value, path)
    if not text:
        raise SessionError(path, "holds an empty text")
    return text


def _optional_text(value: Any, path: str) -> str:
    text: str = _checked(value, str, path, "text")
    if len(text) > _MAX_TEXT_CHARS or (text and not text.isprintable()):
        raise SessionError(
            path, f"holds a text that is longer than {_MAX_TEXT_CHARS} characters or not printable"
        )
    return text


def _checked(value: Any, kind: type, path: str, words: str) -> Any:
    if not isinstance(value, kind):
        raise SessionError(path, f"must be {words}, is {type(value).__name__}")
    return value
