"""The form of a path that policies compare: Istio's path normalizations, of which `BASE` is the default.

Nothing here splits a path as a URL: `urlsplit("//admin/x")` takes `admin` for a host (CVE-2026-26205) and deletes
tabs, and either opens a way around a policy.
"""

import re
from collections.abc import Callable
from enum import Enum
from urllib.parse import quote

_RESERVED = "!$&'()*+,;=:@/"
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PLAIN = re.compile(rf"[A-Za-z0-9\-._~{_RESERVED}]*")
_ODD = re.compile(rf"//|/\.|;|[^A-Za-z0-9\-._~{_RESERVED}]")
_SLASHES = re.compile("/{2,}")
_ESCAPED_SLASH = re.compile("%(?:2[Ff]|5[Cc])")
_HEX_DIGITS = "0123456789ABCDEFabcdef"
_ESCAPES = {
    high + low: character
    if (character := chr(int(high + low, 16))) in _UNRESERVED
    else f"%{high}{low}".upper()
    for high in _HEX_DIGITS
    for low in _HEX_DIGITS
}
"""What stands for each pair of digits after a `%`."""


class Normalization(Enum):
    """Istio's modes (MeshConfig.ProxyPathNormalization)."""

    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


def normalizer(mode: Normalization) -> Callable[[str], str]:
    """Return what brings a request target as received into the form that policies compare in that mode."""
    return {
        Normalization.NONE: without_query,
        Normalization.BASE: normalize,
        Normalization.MERGE_SLASHES: merge_slashes,
        Normalization.DECODE_AND_MERGE_SLASHES: decode_and_merge_slashes,
    }[mode]


def without_query(path: str) -> str:
    """Return *path* up to its query and fragment."""
    if "?" in path:
        path = path.partition("?")[0]
    if "#" in path:
        path = path.partition("#")[0]
    return path


def is_odd(path: str) -> bool:
    """Whether readers may differ about *path*, which is without its query; what is not odd is normalized."""
    return _ODD.search(path) is not None


def merge_slashes(path: str) -> str:
    """Return *path* normalized, with one slash for several."""
    return _SLASHES.sub("/", normalize(path))


def decode_and_merge_slashes(path: str) -> str:
    r"""Return *path* normalized, with `%2F` and `%5C` read as slashes before, and one slash for several."""
    return merge_slashes(_ESCAPED_SLASH.sub("/", without_query(path)))


def normalize(path: str) -> str:
    r"""Return *path* (a request target as received) in the one form that is compared. Never raises; linear time.

    Query and fragment are cut; `\` becomes `/`; percent-encoded unreserved characters are decoded, once (RFC 3986
    section 6.2.2.2), other escapes are kept with upper-case digits (6.2.2.1), so `%2f` stays an escape, `%2F`; what
    no path may hold (3.3: spaces, controls, `"<>[]^{|}`, all but ASCII) is percent-encoded as UTF-8, and so is a `%`
    that begins no escape, so that what was decoded can't form a new one; dot segments are removed (5.2.4). Slashes
    are not merged: `//admin` stays. What doesn't begin with `/` (`*`, CONNECT's empty path) has no hierarchy, so its
    dots stay. Applying it twice gives what applying it once gives.
    """
    path = without_query(path)
    if "/." not in path and _PLAIN.fullmatch(path):
        return path
    # Splitting and joining is several times faster than an expression that is called back for each character, and
    # 60 KB of escapes are a request that anybody can send.
    first, *escaped = path.replace("\\", "/").split("%")
    path = first + "".join([_ESCAPES.get(part[:2], f"%25{part[:2]}") + part[2:] for part in escaped])
    path = quote(path, safe=_RESERVED + "%", errors="surrogatepass")
    return _remove_dot_segments(path) if path.startswith("/") else path


def _remove_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
