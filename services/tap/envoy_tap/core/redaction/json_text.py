"""Secrets in JSON, hidden without changing another byte; what is cut off or broken is read as far as it goes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from envoy_tap.core.predicate.jsonpath import Step, steps
from envoy_tap.core.redaction.editor import Editor, Replace, Steps
from envoy_tap.core.redaction.names import Names

_MAX_DEPTH = 64
# What one match may take: no other thread gets its turn meanwhile.
_STRETCH_BYTES = 64 << 10
_STRETCH_DEPTH = 4
_VISIBLE = re.compile(rb"[^ \t\n\v\f\r]")
_COLON = re.compile(rb"[ \t\n\v\f\r]*:")
_QUOTE = re.compile(rb"[\"\\]")
_SCALAR = re.compile(rb"[^ \t\n\v\f\r,:\[\]{}\"]+")
_ESCAPE = re.compile(
    rb"\\(?:u([0-9a-fA-F]{4})(?:(?<=[dD][89abAB]..)\\u([dD][c-fC-F][0-9a-fA-F]{2}))?|(.))", re.DOTALL
)
_ESCAPED = dict(zip(b'"\\/bfnrt', (b'"', b"\\", b"/", b"\b", b"\f", b"\n", b"\r", b"\t"), strict=True))


@dataclass(slots=True)
class _Level:
    is_object: bool
    wants_key: bool
    key: bytes | int | None
    # Whether a path may lead to something below, and whether that is seen by its next member's name.
    is_on_path: bool
    is_known_by_name: bool


class _Broken(Exception):  # noqa: N818 - no error: a turn that the reading takes
    """What follows cannot be read as JSON."""


def json_paths(paths: Sequence[str]) -> list[tuple[bytes | int, ...]]:
    """Return *paths* as `hide_json` takes them."""

    def step(each: Step) -> bytes | int:
        return each.encode() if isinstance(each, str) else each

    return [tuple(map(step, steps(path))) for path in paths]


def hide_json(
    text: bytes,
    names: Names,
    paths: Sequence[tuple[bytes | int, ...]],
    replace: Replace,
    steps: Steps,
    *,
    declared: bool,
) -> bytes:
    """Return *text* without the values of these members; raises TooMuchError when that takes too many *steps*.

    *declared*: it says that it is JSON, so that what can't be read of it is not let through.
    """
    return _Reader(text, names, paths, replace, steps).read(declared=declared)


@lru_cache(maxsize=64)
def _stretches(names: Names) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what fits the longest stretch without a secret: of an array's elements, and of an object's members.

    They take only what the reader would pass over token by token; it goes on by itself where they end. No part of
    them is ever tried twice, so that their time is linear.
    """
    blank = rb"[ \t\n\v\f\r]*+"
    no_secret = rb"(?!(?i:%s)\")" % b"|".join(map(re.escape, sorted(names))) if names else b""
    key = rb"\"%s[^\"\\]*+\"" % no_secret
    value = plain = rb"\"(?:[^\"\\]++|\\.)*+\"|[^ \t\n\v\f\r,:\[\]{}\"]++"
    elements = members = b""
    for _ in range(_STRETCH_DEPTH + 1):
        elements = rb"(?:[^\"\[\]{}:]++|%s)*+" % value
        members = rb"(?:%s%s%s:%s(?>%s)%s(?:,|(?=})))*+" % (blank, key, blank, blank, value, blank)
        value = rb"%s|\[%s\]|{%s%s}" % (plain, elements, members, blank)
    return re.compile(elements, re.DOTALL), re.compile(members, re.DOTALL)


class _Reader:
    def __init__(
        self,
        text: bytes,
        names: Names,
        paths: Sequence[tuple[bytes | int, ...]],
        replace: Replace,
        steps: Steps,
    ) -> None:
        self._text = text
        self._names = names
        self._paths = paths
        self._edit = Editor(text, replace)
        self._replace = replace
        self._steps = steps
        known = (step for path in paths for step in path if isinstance(step, bytes))
        self._elements, self._members = _stretches(names.union(known))
        self._stack: list[_Level] = []
        self._hidden: int | None = None
        self._hidden_depth = 0
        self._at = 0

    def read(self, *, declared: bool) -> bytes:
        try:
            while found := _VISIBLE.search(self._text, self._at):
                self._steps.take()
                self._at = found.start()
                if found[0] in b"]}" or not self._stretch():
                    self._one(found[0])
        except _Broken:
            if self._hidden is None and declared:
                self._edit.hide(self._at, len(self._text))
        if self._hidden is not None:
            self._hide(self._hidden, len(self._text))
        return self._edit.done()

    def _stretch(self) -> bool:
        """Pass over what holds nothing to hide; whether there was any of it."""
        top = self._stack[-1] if self._stack else None
        if top is None or len(self._stack) + _STRETCH_DEPTH > _MAX_DEPTH:
            return False
        if top.is_on_path and not top.is_known_by_name and self._hidden is None:
            return False
        if top.is_object and not top.wants_key:
            return False
        fitting = self._members if top.is_object else self._elements
        found = fitting.match(self._text, self._at, self._at + _STRETCH_BYTES)
        if found is None or found.end() == self._at:
            return False
        self._at = found.end()
        if top.is_object:
            # A member without a comma is the last one.
            top.wants_key = self._text[self._at - 1 : self._at] == b","
        return True

    def _one(self, char: bytes) -> None:
        top = self._stack[-1] if self._stack else None
        if char == b'"':
            self._string(top)
        elif char in b"{[":
            self._open(top, is_object=char == b"{")
        elif char in b"}]":
            if top is None or top.is_object != (char == b"}"):
                raise _Broken
            self._close()
        elif char == b",":
            if top is None:
                raise _Broken
            self._next(top)
        else:
            scalar = _SCALAR.match(self._text, self._at)
            if scalar is None or (top is not None and top.wants_key):
                raise _Broken
            self._value(scalar.end())

    def _string(self, top: _Level | None) -> None:
        end = self._string_end()
        if top is None or not top.wants_key:
            self._value(len(self._text) if end is None else end)
            return
        if end is None:
            self._at = len(self._text)
            return
        top.key, top.wants_key = _unescaped(self._text[self._at + 1 : end - 1]), False
        colon = _COLON.match(self._text, end)
        self._at = colon.end() if colon else end
        if colon is None and _VISIBLE.search(self._text, end):
            raise _Broken

    def _string_end(self) -> int | None:
        at = self._at + 1
        while found := _QUOTE.search(self._text, at):
            if found[0] == b'"':
                return found.end()
            at = found.end() + 1
        return None

    def _open(self, top: _Level | None, *, is_object: bool) -> None:
        if self._hits():
            self._hidden, self._hidden_depth = self._at, len(self._stack)
        if len(self._stack) >= _MAX_DEPTH or (top is not None and top.wants_key):
            raise _Broken
        leading = self._leading(is_object=is_object) if top is None or top.is_on_path else set()
        key = None if is_object else 0
        self._stack.append(
            _Level(is_object, is_object, key, bool(leading), is_object and b"*" not in leading)
        )
        self._at += 1

    def _close(self) -> None:
        self._stack.pop()
        self._at += 1
        if self._hidden is not None and len(self._stack) == self._hidden_depth:
            self._hide(self._hidden, self._at)
            self._hidden = None

    def _next(self, top: _Level) -> None:
        if top.is_object:
            top.wants_key, top.key = True, None
        elif isinstance(top.key, int):
            top.key += 1
        self._at += 1

    def _value(self, end: int) -> None:
        if self._hits():
            self._hide(self._at, end)
        self._at = end

    def _hits(self) -> bool:
        if self._hidden is not None or not self._stack:
            return False
        top = self._stack[-1]
        if isinstance(top.key, bytes) and top.key.lower() in self._names:
            return True
        return any(self._leads(path) for path in self._paths)

    def _leads(self, path: tuple[bytes | int, ...]) -> bool:
        return len(path) == len(self._stack) and all(
            step in (b"*", level.key) for step, level in zip(path, self._stack, strict=True)
        )

    def _leading(self, *, is_object: bool) -> set[bytes | int]:
        """Return the steps by which paths lead on into the object or array that begins here."""
        depth = len(self._stack)
        return {
            path[depth]
            for path in self._paths
            if len(path) > depth
            and (path[depth] == b"*" or isinstance(path[depth], bytes) is is_object)
            and all(step in (b"*", level.key) for step, level in zip(path, self._stack, strict=False))
        }

    def _hide(self, start: int, end: int) -> None:
        value = self._text[start:end]
        # A string's placeholder is made of what is in it, so that it is the one of the same secret elsewhere.
        is_string = len(value) > 1 and value[:1] == value[-1:] == b'"'
        self._edit.put(start, end, b'"' + self._replace(value[1:-1] if is_string else value) + b'"')


def _unescaped(key: bytes) -> bytes:
    return _ESCAPE.sub(_plain, key) if b"\\" in key else key


def _plain(escape: re.Match[bytes]) -> bytes:
    unit, low, char = escape.groups()
    if unit is None:
        return _ESCAPED.get(char[0], escape[0])
    code = int(unit, 16)
    if low is not None:
        code = 0x10000 + ((code - 0xD800) << 10) + int(low, 16) - 0xDC00
    return chr(code).encode("utf-8", "surrogatepass")
