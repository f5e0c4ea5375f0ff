"""The ways in which a path or a host may be read that is not plain: by Envoy, by other proxies, by what serves it.

Where they differ, a policy may be decided by one reading and the request be served by another.
"""

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote

from envoy_authz.core.paths import decode_and_merge_slashes, merge_slashes, normalize, without_query

_SLASHES = re.compile(r"[/\\]{2,}")
_MAX_PORT_DIGITS = 5
MOST_CHARACTERS = 4096
"""How long a path may be that is read in every way; to read a longer one holds up everybody else's requests."""
MOST_READINGS = 32
"""How many readings of one path are looked at; one with more is ambiguous."""
_ASCII = bytes(range(128)).decode()


def path_readings(received: str) -> Iterator[str]:
    r"""Yield the plausible readings of a path as received, normalized; one may come several times.

    Slashes merged or not, escapes decoded once or twice, `\` a slash or not, parameters behind `;` cut from each
    segment (servlet containers), cut at an encoded NUL, `?` or `#`, the fragment kept, tabs and line breaks deleted,
    the first of `//host/path` taken for an authority (`urlsplit`), and in lower-level servers nothing resolved at all.
    """
    path = without_query(received)
    yield normalize(path)
    yield merge_slashes(path)
    yield merge_slashes(_SLASHES.sub("/", path))
    if "#" in received.partition("?")[0]:
        kept = received.partition("?")[0].replace("#", "%23")
        yield normalize(kept)
        yield decode_and_merge_slashes(kept)
    if path.startswith("//"):
        yield normalize("/" + path[2:].partition("/")[2])
    yield from _spellings(path)


def _spellings(path: str) -> Iterator[str]:
    once = path
    if "%" in path:
        yield decode_and_merge_slashes(path)
        once = _decoded(path)
        twice = _decoded(once)
        for decoded in (once, twice) if twice != once else (once,):
            # What was decoded is a path by now: its `?`, `#` and NUL may or may not end it.
            yield from _served(decoded)
    if "\\" in path:
        yield _quoted(path.replace("\\", "%5C"))
    yield from _served(once)


def _served(path: str) -> Iterator[str]:
    yield _quoted(path)
    # Whether an empty segment is there when `..` takes one away depends on what is done first.
    yield _quoted(_SLASHES.sub("/", path))
    for end in ("\x00", "?", "#"):
        if end in path:
            yield merge_slashes(path.partition(end)[0])
    if any(character in path for character in "\t\r\n"):
        yield _quoted(path.translate({9: None, 10: None, 13: None}))
    if ";" in path:
        bare = "/".join(segment.partition(";")[0] for segment in path.split("/"))
        yield _quoted(bare)
        yield merge_slashes(without_query(bare))


def _decoded(path: str) -> str:
    return unquote(path, errors="surrogateescape")


def _quoted(path: str) -> str:
    """Return a decoded path in the form that policies compare; a `?` or `#` in it is a part of it."""
    text = path.replace("?", "%3F").replace("#", "%23")
    if not text.isascii():
        try:
            raw = text.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raw = text.encode(errors="surrogatepass")
        text = quote(raw, safe=_ASCII)
    return merge_slashes(text)


def is_odd_host(host: str) -> bool:
    """Whether readers may differ about an authority."""
    return ":" in host or "@" in host or host.endswith(".")


def host_readings(host: str) -> Iterator[str]:
    """Yield the plausible readings of a lower-case authority: without user, without its port, without the root's dot."""
    host = host.rpartition("@")[2]
    name, colon, port = host.rpartition(":")
    bare = name if colon and port.isascii() and port.isdigit() and len(port) <= _MAX_PORT_DIGITS else host
    yield bare
    yield bare.rstrip(".")


def differing(
    readings: Iterator[str], primary: str, decides: Callable[[str], bool], most: int = MOST_READINGS
) -> str | None:
    """Return the first reading other than *primary* for which *decides* is true, of at most *most* distinct ones."""
    seen = {primary}
    for reading in readings:
        if reading in seen:
            continue
        if decides(reading):
            return reading
        seen.add(reading)
        if len(seen) > most:
            return reading
    return None
