"""What can never be captured, whatever a session says."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from urllib.parse import unquote_to_bytes

from envoy_tap.core.exchange import Exchange, Node
from envoy_tap.core.predicate.values import ValueProblem, template

_SLASH = re.compile(rb"%2[fF]|%5[cC]")
_PARAMETERS = re.compile(rb";[^/]*")


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules above all sessions.

    `never_paths`: path templates (`/login`, `/accounts/{id}/pin`, `/admin/**`), compared without regard to case,
    encoding, doubled slashes, dot segments and parameters; `never_headers`: names in lower case; `never_clusters`:
    `node.cluster` of whole groups of proxies, where `*` is any text; `never_sockets`: no connection's bytes.
    """

    never_paths: tuple[str, ...] = ()
    never_headers: frozenset[str] = frozenset()
    never_clusters: tuple[str, ...] = ()
    never_sockets: bool = False

    @property
    def allows_sockets(self) -> bool:
        """Whether a connection's bytes may be kept: never where they could hold a path or header that is forbidden."""
        return not (self.never_sockets or self.never_paths or self.never_headers)

    def allows_node(self, node: Node) -> bool:
        """Whether anything may be captured on *node*."""
        return not any(fnmatchcase(node.cluster, pattern) for pattern in self.never_clusters)

    def allows(self, exchange: Exchange) -> bool:
        """Whether *exchange* may be kept; one whose path is not known may be only if no path is forbidden."""
        if not self.allows_node(exchange.node):
            return False
        if exchange.socket is not None:
            return self.allows_sockets
        if not self.never_paths:
            return True
        path = None if exchange.request is None else exchange.request.first(":path")
        return path is not None and not self.forbids_path(path)

    def forbids_path(self, path: bytes) -> bool:
        """Whether no exchange with *path* may be kept."""
        read = (normal(path, slashes=True), normal(path, slashes=False))
        return any(forbidding_regex(each).fullmatch(form) for each in self.never_paths for form in read)


def path_problem(text: str) -> tuple[str, str] | None:
    """Return what is wrong with the template *text*, and what would be right; None if it can be used here."""
    try:
        template(text)
    except ValueProblem as problem:
        return problem.message, problem.hint
    if not text.startswith("/") or "?" in text or "%" in text:
        return f"{text!r} is not a path", "one begins with /, and is written without a query and decoded"
    return None


def within(paths: tuple[str, ...], exchange: Exchange) -> bool:
    """Whether the path of *exchange*, however it may be read, is one of *paths* (templates); any is without them."""
    if not paths:
        return True
    path = None if exchange.request is None else exchange.request.first(":path")
    return path is not None and all(
        any(forbidding_regex(each).fullmatch(form) for each in paths)
        for form in (normal(path, slashes=True), normal(path, slashes=False))
    )


def normal(path: bytes, *, slashes: bool) -> bytes:
    """Return *path* as servers tend to read it: decoded, in lower case, without query, parameters and detours.

    *slashes*: whether an encoded slash is one, too; servers differ.
    """
    path = path.partition(b"?")[0].partition(b"#")[0]
    path = unquote_to_bytes(path if slashes else _SLASH.sub(b"%252f", path)).lower().replace(b"\\", b"/")
    segments: list[bytes] = []
    for segment in _PARAMETERS.sub(b"", path).split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in {b"", b"."}:
            segments.append(segment)
    return b"/" + b"/".join(segments)


@cache
def forbidding_regex(path: str) -> re.Pattern[bytes]:
    """Return what matches the `normal` paths of the template *path*."""
    parts, goes_on = forbidding_parts(path)
    written = "".join("/[^/]+" if each == "*" else "/" + re.escape(each) for each in parts)
    return re.compile((written + "(?:/.*)?" if goes_on else written or "/").encode(), re.DOTALL)


def forbidding_parts(path: str) -> tuple[tuple[str, ...], bool]:
    """Return the segments of the template *path*, where `*` is any, and whether anything may follow them."""
    segments = tuple(each for each in template(path.lower()) if each)
    return (segments[:-1], True) if segments[-1:] == ("**",) else (segments, False)
