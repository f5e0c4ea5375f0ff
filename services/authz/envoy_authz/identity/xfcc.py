"""`x-forwarded-client-cert`: what the proxies before Envoy say of their own clients' certificates.

Elements are separated by `,`, the pairs in one by `;`, and a value with either, or with `=`, is in quotes. Envoy with
`APPEND_FORWARD` adds an element; a client can have written all that stand before those of trusted proxies.
"""

import re
from dataclasses import dataclass

from envoy_authz.identity.spiffe import InvalidSpiffeIdError, SpiffeId, parse_spiffe_id

MAX_LENGTH = 65_536
"""How long the header may be, in characters."""

MAX_PARTS = 1000
"""How many `,` and `;` it may hold; what a client adds to it without end would hold up everybody else's requests."""

_MARKS = {separator: re.compile(rf'[\\"{separator}]') for separator in ",;"}


class XfccError(ValueError):
    """A header that can't be read, or that has not what was asked for."""


@dataclass(frozen=True, slots=True)
class XfccElement:
    """What one proxy saw; keys are in lower case, and one key may come more than once (`uri`, `dns`)."""

    pairs: tuple[tuple[str, str], ...]

    def values(self, key: str) -> tuple[str, ...]:
        """Return all values of *key* (lower case)."""
        return tuple(value for name, value in self.pairs if name == key)


def parse_xfcc(header: str) -> tuple[XfccElement, ...]:
    """Return the elements from left to right, of which the last was added last; raises XfccError."""
    if len(header) > MAX_LENGTH:
        raise XfccError("the header is too long")
    if header.count(",") + header.count(";") > MAX_PARTS:
        raise XfccError("the header has too many parts")
    return tuple(XfccElement(tuple(map(_pair, _split(text, ";")))) for text in _split(header, ","))


def forwarded_identity(header: str, trusted_hops: int) -> SpiffeId:
    """Return who called the outermost of *trusted_hops* proxies, each of which appended what it saw of its client.

    With 1, the last element counts: that of the proxy directly before this Envoy. Raises XfccError when there are
    fewer elements, or when that one has not exactly one URI or one that is no SPIFFE ID: never an element that a
    client may have written.
    """
    if trusted_hops < 1:
        raise XfccError("no proxy is trusted")
    elements = parse_xfcc(header)
    if len(elements) < trusted_hops:
        raise XfccError("fewer elements than trusted proxies")
    uris = elements[-trusted_hops].values("uri")
    if len(uris) != 1:
        raise XfccError("the element has not exactly one URI")
    try:
        return parse_spiffe_id(uris[0])
    except InvalidSpiffeIdError as error:
        raise XfccError(f"the element's URI is no SPIFFE ID: {error}") from None


def _split(text: str, separator: str) -> list[str]:
    parts: list[str] = []
    start = position = 0
    quoted = False
    marks = _MARKS[separator]
    while (mark := marks.search(text, position)) is not None:
        position = mark.end()
        if mark[0] == "\\":
            position += quoted
        elif mark[0] == '"':
            quoted = not quoted
        elif not quoted:
            parts.append(text[start : position - 1])
            start = position
    if quoted:
        raise XfccError("a quote is not closed")
    parts.append(text[start:])
    return parts


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.strip(" \t").partition("=")
    if not equals or not key.isascii() or not key.isalnum():
        raise XfccError("an element is not of key=value pairs")
    if value.startswith('"'):
        if len(value) < 2 or not value.endswith('"'):  # noqa: PLR2004 - both quotes
            raise XfccError("a quote is not around the whole value")
        value = _unescape(value[1:-1])
    elif '"' in value:
        raise XfccError("a quote is not around the whole value")
    return key.lower(), value


def _unescape(text: str) -> str:
    characters = iter(text)
    plain: list[str] = []
    for character in characters:
        if character == '"':
            raise XfccError("a quote is not around the whole value")
        plain.append(next(characters, "") if character == "\\" else character)
    return "".join(plain)
