"""Secrets that are known by the name of their parameter or field: in URLs, forms and multipart bodies."""

import re
from collections.abc import Callable
from enum import Enum
from urllib.parse import unquote_to_bytes

from envoy_tap.core.redaction.editor import Editor, Replace

Names = frozenset[bytes]

# What stands between names and values of parameters, also in an address within another, or in JSON; HTML's &amp; ends
# with one, too.
_MARK = re.compile(rb"[=?&#;]|%(?:3[BbDdFf]|2[36])|\\u00(?:3[BbDdFf]|2[36])")
_IN_NO_NAME = re.compile(rb"[ \t\n\v\f\r\"]")
_FORM_MARK = re.compile(rb"[=&;]")
_FORM_END = re.compile(rb"[&;]")
_MATRIX_VALUE = re.compile(rb"[^&#/?;]*")
_MAX_NAME_BYTES = 1024
_NESTED = re.compile(rb"[^\[\].]+")
_MAX_NESTED_BYTES = 256
_PART_NAME = re.compile(rb"[Nn][Aa][Mm][Ee][ \t]*=[ \t]*\"?([^\"\r\n;]*)")
_BLANK = re.compile(rb"(\r?)\n\r?\n")
_VISIBLE = re.compile(rb"[^ \t\n\v\f\r]")
_JSON_START = re.compile(rb"(?:\xef\xbb\xbf)?[{\[]")


class Within(Enum):
    """In what parameters stand, by the regular expression of their values."""

    TEXT = re.compile(
        rb"(?:[^&# \t\n\v\f\r\"<>\\]|\\[\"\\]?)*+"
    )  # where a URL ends, nobody says; quotes may be escaped
    URL = re.compile(rb"[^&#]*")
    FORM = re.compile(rb"[^&]*")


def hide_query(text: bytes, names: Names, replace: Replace, within: Within = Within.TEXT) -> bytes:
    """Return *text*, wherever a URL stands in it, without the values of these parameters."""
    if b"=" not in text and b"%3" not in text and b"\\u003" not in text:
        return text
    # Its beginning may be that of a query, too.
    edit, start, sign, at = Editor(text, replace), 0, b"", 0
    path_end = text.find(b"?") if b"?" in text else len(text)
    while mark := _MARK.search(text, at):
        name, at = text[start : min(mark.start(), start + _MAX_NAME_BYTES + 1)], mark.end()
        if mark[0][-1:] in b"=dD":
            is_name = within is not Within.TEXT or not _IN_NO_NAME.search(name)
            if is_name and len(name) <= _MAX_NAME_BYTES and known_as(name, names):
                is_matrix = within is Within.URL and sign == b";" and start <= path_end
                value = (_MATRIX_VALUE if is_matrix else within.value).match(text, at)
                end = value.end() if value else at
                edit.hide(at, end)
                at = end
        start, sign = at, mark[0]
    return edit.done()


def hide_form(text: bytes, names: Names, replace: Replace) -> bytes:
    """Return an application/x-www-form-urlencoded body without the values of these fields."""
    edit, start, at = Editor(text, replace), 0, 0
    while mark := _FORM_MARK.search(text, at):
        name, at = text[start : min(mark.start(), start + _MAX_NAME_BYTES + 1)], mark.end()
        if mark[0] == b"=":
            if len(name) <= _MAX_NAME_BYTES and known_as(name, names):
                end = text.find(b"&", at)
                end = len(text) if end < 0 else end
                edit.hide(at, end)
                at = end
            else:
                # A value may hold more of them, but is not one's name.
                found = _FORM_END.search(text, at)
                at = found.start() if found else len(text)
        start = at
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
    while (blank := _BLANK.search(text, at)) and (content := _VISIBLE.search(text, blank.end())):
        at = content.start()
        if _JSON_START.match(text, at):
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
    nested = _NESTED.findall(plain) if len(plain) <= _MAX_NESTED_BYTES else ()
    return nested[-1] if nested and nested[-1] in names else b""
