"""What ALLOW policies change in a request on its way to the upstream, from their templates to values.

A value that is absent, or that a header can't hold, is removed and not left: a client could have sent it itself.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from envoy_authz.core.attributes import look_up, parse_key
from envoy_authz.core.bodies import Unreadable
from envoy_authz.core.facts import Facts
from envoy_authz.core.policy import Mutation, Setting

MAX_VALUE_BYTES = 8192
_MAX_DEPTH = 16
_CLAIMS = "request.auth.claims["

Pairs = tuple[tuple[str, str], ...]
Value = Callable[[Facts], str]


class Changes(NamedTuple):
    """Changes to a request; no name is both set and removed. Query parameters are encoded for a URL."""

    set_headers: Pairs = ()
    remove_headers: tuple[str, ...] = ()
    set_query: Pairs = ()
    remove_query: tuple[str, ...] = ()
    metadata: Mapping[str, object] = {}


class CompiledMutation:
    """The templates of one policy, ready to be filled."""

    __slots__ = ("headers", "metadata", "names", "query", "query_names", "removed", "removed_query")

    def __init__(self, mutation: Mutation) -> None:
        self.headers = [(setting.name.lower(), _text(setting)) for setting in mutation.set_headers]
        self.query = [(setting.name, _text(setting)) for setting in mutation.set_query]
        self.metadata = [(setting.name, _json(setting)) for setting in mutation.metadata]
        self.removed = [name.lower() for name in mutation.remove_headers]
        self.removed_query = list(mutation.remove_query)
        self.names = frozenset(name for name, _value in self.headers)
        self.query_names = frozenset(name for name, _value in self.query)


class Mutator:
    """All mutations of a set of policies.

    What any of them may set is removed when none of those that match does. Where several set one name, the first in
    the order of policies wins.
    """

    __slots__ = ("_compiled", "_headers", "_query")

    def __init__(self, mutations: Mapping[str, Mutation]) -> None:
        self._compiled = {name: CompiledMutation(mutation) for name, mutation in mutations.items()}
        self._headers = sorted({name for one in self._compiled.values() for name in one.names})
        self._query = sorted({name for one in self._compiled.values() for name in one.query_names})

    def changes(self, matching: Iterable[str], facts: Facts) -> Changes:
        """Return what the policies *matching* (full names) change."""
        headers: dict[str, str] = {}
        query: dict[str, str] = {}
        metadata: dict[str, object] = {}
        matched = set(matching)
        removed, removed_query = list(self._headers), list(self._query)
        for name, one in self._compiled.items():
            if name not in matched:
                continue
            _fill(headers, one.headers, facts)
            _fill(query, one.query, facts)
            for key, read in one.metadata:
                value = read(facts)
                if value is not None:
                    metadata.setdefault(key, value)
            removed.extend(one.removed)
            removed_query.extend(one.removed_query)
        return Changes(
            tuple(headers.items()),
            tuple(name for name in dict.fromkeys(removed) if name not in headers),
            tuple((_escaped(name), _escaped(value)) for name, value in query.items()),
            tuple(_escaped(name) for name in dict.fromkeys(removed_query) if name not in query),
            metadata,
        )


def _fill(filled: dict[str, str], settings: list[tuple[str, Value]], facts: Facts) -> None:
    for name, value in settings:
        text = value(facts)
        if text and is_sendable(text):
            filled.setdefault(name, text)


def is_sendable(text: str) -> bool:
    """Whether a header can hold *text* (RFC 9110 section 5.5): Envoy answers 500 to one that can't."""
    if len(text) > MAX_VALUE_BYTES or text != text.strip(" \t"):
        return False
    if text.isascii():
        return text.isprintable()
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return False
    return len(raw) <= MAX_VALUE_BYTES and min(raw) >= 0x20 and 0x7F not in raw  # noqa: PLR2004 - the controls of ASCII


def _text(setting: Setting) -> Value:
    if not setting.source:
        return lambda _facts: setting.value
    get = parse_key(setting.source).values

    def value(facts: Facts) -> str:
        values = get(facts)
        return "" if isinstance(values, Unreadable) else ",".join(values)

    return value


def _json(setting: Setting) -> Callable[[Facts], object]:
    if setting.source.startswith(_CLAIMS):
        parts = parse_key(setting.source).parts

        def claim(facts: Facts) -> object:
            found = (look_up(token.claims, parts) for token in facts.tokens)
            return _plain(next((value for value in found if value is not None), None), _MAX_DEPTH)

        return claim
    text = _text(setting)
    return lambda facts: text(facts) or None


def _plain(value: object, depth: int) -> object:
    """Return a JSON value as a Struct can hold it: numbers are finite doubles; what it can't is None."""
    if depth == 0:
        return None
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return (
            value
            if -(2**53) <= value <= 2**53 or (isinstance(value, float) and math.isfinite(value))
            else None
        )
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth - 1) for item in value]
    return None


def _escaped(text: str) -> str:
    return quote(text, safe="", errors="replace")
