"""Which strings of a policy can never do what their author meant; each check gives a problem and its remedy, or None.

A string that can't match is an error and not advice: in a DENY policy it is a door left open.
"""

import re
from collections.abc import Callable

from envoy_authz.core.paths import normalize
from envoy_authz.core.patterns import Kind, Pattern, parse_pattern, parse_principal
from envoy_sidecar.config.strict import Problem

# RFC 1123, as Kubernetes asks for it of names and namespaces.
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAX_NAME = 253
_TEMPLATE = re.compile(r"\{\*{1,2}\}")
_SPIFFE_END = re.compile(r"[A-Za-z0-9._/-]+")
# SPIFFE-ID sections 2.1 and 2.2: the trust domain is in lower case, and no segment of the path is empty.
_SPIFFE_START = re.compile(r"(?:[a-z0-9._-]+(?:/[A-Za-z0-9._-]+)*/?)?")
_TOKEN = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]*")


def check_name(text: str) -> Problem | None:
    """Check `metadata.name`: a DNS subdomain (RFC 1123)."""
    if len(text) <= _MAX_NAME and _NAME.fullmatch(text):
        return None
    return f"{text!r} is not a name", "use lower-case letters, digits, `-` and `.`, at most 253"


def check_namespace(text: str) -> Problem | None:
    """Check `metadata.namespace`: a DNS label (RFC 1123)."""
    if _NAMESPACE.fullmatch(text):
        return None
    return f"{text!r} is not a namespace", "use lower-case letters, digits and `-`, at most 63"


def check_method(text: str) -> Problem | None:
    """Check a pattern of `methods`: a token in upper case (RFC 9110 sections 5.6.2 and 9.1)."""
    pattern = _parsed(text, parse_pattern)
    if not isinstance(pattern, Pattern):
        return pattern
    if not _TOKEN.fullmatch(pattern.text):
        return f"{text!r} is not an HTTP method", "write one method in each item, such as GET"
    if text != text.upper():
        return f"{text!r} is not in upper case, and methods are case-sensitive", f"write {text.upper()}"
    return None


def check_path(text: str) -> Problem | None:
    """Check a pattern of `paths`: in the form of `paths.normalize`, with which it is compared."""
    if _TEMPLATE.search(text):
        return (
            f"{text!r} is a path template, which is not supported yet",
            "write a prefix or suffix with one `*`",
        )
    pattern = _parsed(text, parse_pattern)
    if not isinstance(pattern, Pattern):
        return pattern
    if "?" in text or "#" in text:
        return (
            f"{text!r} has a query or fragment, and paths are compared without",
            f"write {normalize(text)!r}",
        )
    if pattern.kind in {Kind.EXACT, Kind.PREFIX} and not text.startswith("/"):
        return f"{text!r} does not begin with `/`, as every path does", f"write '/{text}'"
    before = "/a" if pattern.kind is Kind.SUFFIX else ""
    after = "a" if pattern.kind is Kind.PREFIX else ""
    normal = normalize(f"{before}{pattern.text}{after}")
    if normal != f"{before}{pattern.text}{after}":
        hint = (
            f"write {normal!r}"
            if pattern.kind is Kind.EXACT
            else "leave out `.`, `..`, `\\` and needless escapes, and escape in upper case all that no path may hold"
        )
        return f"{text!r} matches no path, since they are normalized first", hint
    return None


def check_principal(text: str) -> Problem | None:
    """Check a pattern of `principals`: a SPIFFE ID (SPIFFE-ID section 2), with or without `spiffe://`."""
    pattern = _parsed(text, parse_principal)
    if not isinstance(pattern, Pattern):
        return pattern
    if (_SPIFFE_END if pattern.kind is Kind.SUFFIX else _SPIFFE_START).fullmatch(pattern.text):
        return None
    return (
        f"{text!r} is not a SPIFFE identity",
        "write it like cluster.local/ns/<namespace>/sa/<service account>",
    )


def _parsed(text: str, parse: Callable[[str], Pattern]) -> Pattern | Problem:
    try:
        return parse(text)
    except ValueError as error:
        return str(error), "write a value with at most one `*`, at its start or at its end"
