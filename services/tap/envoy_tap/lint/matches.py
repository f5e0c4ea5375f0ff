"""What Envoy refuses in a match (envoy.config.common.matcher.v3.MatchPredicate), wherever it comes from."""

from collections.abc import Iterator

import re2

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_tap.core.predicate.values import regex
from envoy_tap.lint.fields import REFUSED, field, finding, items, text, truth, unknown

_SETS = ("and_match", "or_match")
_FEWEST = 2
_HEADERS = tuple(
    f"http_{side}_{part}_match" for side in ("request", "response") for part in ("headers", "trailers")
)
_BODIES = ("http_request_generic_body_match", "http_response_generic_body_match")
_KINDS = ("any_match", "not_match", *_SETS, *_HEADERS, *_BODIES)
_STRINGS = ("exact", "prefix", "suffix", "contains", "safe_regex", "custom")
_NEVER_EMPTY = ("prefix", "suffix", "contains")
_PATTERNS = ("string_match", "binary_match")


def match(node: Node, *, by_admin: bool) -> Iterator[Finding]:
    """Yield what is wrong with the match *node*; *by_admin*: what its regexes may do is said by `posted`."""
    kinds = [kind for kind in _KINDS if field(node, kind) is not None]
    strange = unknown(node, _KINDS)
    for name in strange:
        yield finding(node, name, f"{REFUSED}: a match knows no {name}", f"one of {', '.join(_KINDS)}")
    if not strange and len(kinds) != 1:
        hint = "write any_match: true, or one condition; several go into and_match or or_match"
        yield finding(node, "", f"{REFUSED}: a match is one condition, this has {len(kinds)}", hint)
    for kind in kinds:
        yield from _condition(node, kind, field(node, kind) or node, by_admin=by_admin)


def _condition(node: Node, kind: str, inner: Node, *, by_admin: bool) -> Iterator[Finding]:
    if kind == "any_match" and not truth(node, kind):
        yield finding(node, kind, f"{REFUSED}: any_match can only be true", "write not_match around it")
    elif kind == "not_match":
        yield from match(inner, by_admin=by_admin)
    elif kind in _SETS:
        rules = items(field(inner, "rules"))
        if len(rules) < _FEWEST:
            message = f"{REFUSED}: {kind} takes two rules or more, this has {len(rules)}"
            yield finding(node, kind, message, "write a single rule without it")
        for rule in rules:
            yield from match(rule, by_admin=by_admin)
    elif kind in _HEADERS:
        for header in items(field(inner, "headers")):
            yield from _header(header, by_admin=by_admin)
    elif kind in _BODIES:
        yield from _body(node, kind, inner)


def _body(node: Node, kind: str, inner: Node) -> Iterator[Finding]:
    patterns = items(field(inner, "patterns"))
    if not patterns:
        yield finding(node, kind, f"{REFUSED}: {kind} without patterns", "list what the body must hold")
    for pattern in patterns:
        if not any(text(pattern, name) for name in _PATTERNS):
            yield finding(pattern, "", f"{REFUSED}: an empty pattern", f"write {' or '.join(_PATTERNS)}")


def _header(header: Node, *, by_admin: bool) -> Iterator[Finding]:
    if not text(header, "name"):
        yield finding(header, "name", f"{REFUSED}: a header without name", "write which header")
    string = field(header, "string_match")
    if string is not None and not any(field(string, kind) is not None for kind in _STRINGS):
        yield finding(header, "string_match", f"{REFUSED}: it says no text", f"one of {', '.join(_STRINGS)}")
    for kind in _NEVER_EMPTY:
        for place, name in ((string, kind), (header, f"{kind}_match")):
            if place is not None and field(place, name) is not None and not text(place, name):
                yield finding(place, name, f"{REFUSED}: {name} is empty", "write present_match: true")
    for place, name in ((string, "safe_regex"), (header, "safe_regex_match")):
        asked = field(place, name)
        if asked is not None and not by_admin and not _is_regex(text(asked, "regex")):
            message = f"{REFUSED}: RE2 can't read this regex"
            yield finding(asked, "regex", message, "no look-around and no back-references, and not empty")


def _is_regex(pattern: str) -> bool:
    try:
        regex(pattern)
    except re2.error:
        return False
    return bool(pattern)
