"""Secrets that are known by the name of their parameter or field: in URLs, forms and multipart bodies."""

import re
from urllib.parse import unquote_to_bytes

from envoy_tap.core.redaction.editor import Editor, Replace

Names = frozenset[bytes]

_QUERY_NAME = re.compile(rb"[^=&?# \t\n\v\f\r\"]+")
_QUERY_VALUE = re.compile(rb"[^&# \t\n\v\f\r\"<>]*")
_PART_NAME = re.compile(rb"\"?([^\"\r\n;]*)")
_SIGN = re.compile(rb"[?&]")


def hide_query(text: bytes, names: Names, replace: Replace) -> bytes:
    """Return *text*, wherever a URL stands in it, without the values of these parameters."""
    edit, at = Editor(text, replace), 0
    while sign := _SIGN.search(text, at):
        name = _QUERY_NAME.match(text, sign.end())
        at = name.end() if name else sign.end()
        if name and text[at : at + 1] == b"=":
            value = _QUERY_VALUE.match(text, at + 1)
            end = value.end() if value else at + 1
            if _decoded(name[0]) in names:
                edit.hide(at + 1, end)
            at = end
    return edit.done()


def hide_form(text: bytes, names: Names, replace: Replace) -> bytes:
    """Return an application/x-www-form-urlencoded body without the values of these fields."""
    edit, at = Editor(text, replace), 0
    for pair in text.split(b"&"):
        name, equals, _ = pair.partition(b"=")
        if equals and _decoded(name) in names:
            edit.hide(at + len(name) + 1, at + len(pair))
        at += len(pair) + 1
    return edit.done()


def hide_parts(text: bytes, names: Names, replace: Replace) -> bytes:
    """Return a multipart body without the content of parts of these names."""
    edit, at = Editor(text, replace), 0
    while (opening := text.find(b"name=", at)) >= 0:
        name = _PART_NAME.match(text, opening + 5)
        at = name.end() if name else opening + 5
        blank = text.find(b"\r\n\r\n", at)
        if blank >= 0 and name and name[1].lower() in names:
            end = text.find(b"\r\n--", blank + 4)
            end = len(text) if end < 0 else end
            edit.hide(blank + 4, end)
            at = end
    return edit.done()


def _decoded(name: bytes) -> bytes:
    return unquote_to_bytes(name.replace(b"+", b" ")).lower()
