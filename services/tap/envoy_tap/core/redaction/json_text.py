"""Secrets in JSON, hidden without changing another byte; what is cut off or broken is read as far as it goes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from envoy_tap.core.predicate.jsonpath import Step, steps
from envoy_tap.core.redaction.editor import Editor, Replace
from envoy_tap.core.redaction.names import Names

_MAX_DEPTH = 64
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


class _Broken(Exception):  # noqa: N818 - no error: a turn that the reading takes
    """What follows cannot be read as JSON."""


def json_paths(paths: Sequence[str]) -> list[tuple[bytes | int, ...]]:
    """Return *paths* as `hide_json` takes them."""

    def step(each: Step) -> bytes | int:
        return each.encode() if isinstance(each, str) else each

    return [tuple(map(step, steps(path))) for path in paths]


def hide_json(
    text: bytes, names: Names, paths: Sequence[tuple[bytes | int, ...]], replace: Replace, *, declared: bool
) -> bytes:
    """Return *text* without the values of these members.

    *declared*: it says that it is JSON, so that what can't be read of it is not let through.
    """
    return _Reader(text, names, paths, replace).read(declared=declared)


class _Reader:
    def __init__(
        self, text: bytes, names: Names, paths: Sequence[tuple[bytes | int, ...]], replace: Replace
    ) -> None:
        self._text = text
        self._names = names
        self._paths = paths
        self._edit = Editor(text, replace)
        self._replace = replace
        self._stack: list[_Level] = []
        self._hidden: int | None = None
        self._hidden_depth = 0
        self._at = 0

    def read(self, *, declared: bool) -> bytes:
        try:
            while found := _VISIBLE.search(self._text, self._at):
                self._at = found.start()
                self._one(found[0])
        except _Broken:
            if self._hidden is None and declared:
                self._edit.hide(self._at, len(self._text))
        if self._hidden is not None:
            self._hide(self._hidden, len(self._text))
        return self._edit.done()

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
        self._stack.append(_Level(is_object, wants_key=is_object, key=None if is_object else 0))
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
