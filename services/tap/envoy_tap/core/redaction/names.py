"""Secrets that are known by the name of their parameter or field: in URLs, forms and multipart bodies."""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from envoy_tap.core.redaction.editor import Editor, Replace

Names = frozenset[bytes]

_QUERY_NAME = re.compile(rb"[^=&?# \t\n\v\f\r\"]+")
_QUERY_VALUE = re.compile(rb"[^&# \t\n\v\f\r\"<>]*")
_SIGN = re.compile(rb"[?&#]")
_LAST = re.compile(rb"([^\[\].]+)[\[\].]*\Z")
_MAX_NESTED_BYTES = 256
_PART_NAME = re.compile(rb"[Nn][Aa][Mm][Ee][ \t]*=[ \t]*\"?([^\"\r\n;]*)")
_BLANK = re.compile(rb"(\r?)\n\r?\n")


def hide_query(text: bytes, names: Names, replace: Replace) -> bytes:
    """Return *text*, wherever a URL stands in it, without the values of these parameters."""
    if b"=" not in text:
        return text
    # Its beginning may be that of a query, too.
    edit, start = Editor(text, replace), 0
    while True:
        name = _QUERY_NAME.match(text, start)
        at = name.end() if name else start
        if name and text[at : at + 1] == b"=":
            value = _QUERY_VALUE.match(text, at + 1)
            end = value.end() if value else at + 1
            if known_as(name[0], names):
                edit.hide(at + 1, end)
            at = end
        sign = _SIGN.search(text, at)
        if sign is None:
            return edit.done()
        start = sign.end()


def hide_form(text: bytes, names: Names, replace: Replace) -> bytes:
    """Return an application/x-www-form-urlencoded body without the values of these fields."""
    edit, at = Editor(text, replace), 0
    for pair in text.split(b"&"):
        name, equals, _ = pair.partition(b"=")
        if equals and known_as(name, names):
            edit.hide(at + len(name) + 1, at + len(pair))
        at += len(pair) + 1
    return edit.done()


def hide_parts(text: bytes, names: Names, replace: Replace) -> bytes:
    """Return a multipart body without the content of parts of these names."""
    edit, at, blank = Editor(text, replace), 0, None
    while name := _PART_NAME.search(text, at):
        at = name.end()
        # Looked for once, however many names stand before it.
        if blank is None or blank.start() < at:
            blank = _BLANK.search(text, at)
        if blank is None:
            break
        if known_as(name[1], names):
            at = part_end(text, blank)
            edit.hide(blank.end(), at)
    return edit.done()


def edit_parts(text: bytes, edited: Callable[[bytes], bytes]) -> bytes:
    """Return a multipart body with the content of those parts *edited* that may be JSON."""
    edit, at = Editor(text, edited), 0
    while blank := _BLANK.search(text, at):
        at = blank.end()
        if text[at : at + 1] in {b"{", b"["}:
            at = part_end(text, blank)
            edit.hide(blank.end(), at)
    return edit.done()


def part_end(text: bytes, blank: re.Match[bytes]) -> int:
    """Return where the part ends whose content begins after *blank*: lines end there as they do before it."""
    end = text.find(blank[1] + b"\n--", blank.end())
    return len(text) if end < 0 else end


def known_as(name: bytes, names: Names) -> bytes:
    """Return by which of *names* a parameter holds a secret, "" if by none; `user[password]` is a `password`."""
    plain = unquote_to_bytes(name.replace(b"+", b" ")).lower()
    if plain in names:
        return plain
    last = _LAST.search(plain) if len(plain) <= _MAX_NESTED_BYTES else None
    return last[1] if last and last[1] in names else b""
