"""Multipart bodies of every subtype (RFC 2046, 5.1), cut-off ones too, which parsers of form data alone refuse."""

import re
from collections.abc import Iterator
from email.message import Message as Headers
from email.utils import collapse_rfc2231_value

_MOST_HEAD_BYTES = 8 << 10
_MOST_PARTS = 200
_LINE = re.compile(rb"\r?\n")
_BLANK = re.compile(rb"\r?\n\r?\n")


def parameter(value: str, name: str) -> str:
    """Return the parameter *name* of a header such as `multipart/form-data; boundary="x"`; "" without one.

    Read as RFC 2231 says, with `filename*=` and its charset.
    """
    headers = Headers()
    headers["content-type"] = value.replace("\r", " ").replace("\n", " ")[:_MOST_HEAD_BYTES]
    try:
        found = headers.get_param(name, "")
        return collapse_rfc2231_value(found)
    except (ValueError, LookupError, TypeError):
        return ""


def split(body: bytes, boundary: bytes) -> Iterator[tuple[tuple[tuple[str, str], ...], bytes, bool]]:
    """Yield the headers, the content and whether it is whole of each part, 200 at most."""
    delimiter = b"--" + boundary
    at = 0 if body.startswith(delimiter) else body.find(b"\n" + delimiter) + 1
    if not boundary or not body.startswith(delimiter, at):
        return
    for _ in range(_MOST_PARTS):
        at += len(delimiter)
        line = _LINE.search(body, at, at + _MOST_HEAD_BYTES)
        if body.startswith(b"--", at) or line is None:
            return
        end = body.find(b"\n" + delimiter, line.end() - 1)
        is_whole = end >= 0
        # The line's end before a delimiter belongs to the delimiter.
        part = body[line.end() : max(line.end(), end)] if is_whole else body[line.end() :]
        headers, content = _headed(part)
        yield headers, content.removesuffix(b"\r") if is_whole else content, is_whole
        if not is_whole:
            return
        at = end + 1


def _headed(part: bytes) -> tuple[tuple[tuple[str, str], ...], bytes]:
    if empty := _LINE.match(part):
        return (), part[empty.end() :]
    blank = _BLANK.search(part, 0, _MOST_HEAD_BYTES)
    if blank is None:
        return (), part
    headers = []
    for line in _LINE.split(part[: blank.start()]):
        name, colon, value = line.decode(errors="replace").partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    return tuple(headers), part[blank.end() :]
