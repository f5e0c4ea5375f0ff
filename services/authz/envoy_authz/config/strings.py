"""Which strings of a policy can never do what their author meant; each check gives a problem and its remedy, or None.

A string that can't match is an error and not advice: in a DENY policy it is a door left open.
"""

import re
from collections.abc import Callable

from envoy_authz.core.addresses import parse_block
from envoy_authz.core.operations import grpc_pattern
from envoy_authz.core.paths import Normalization, normalizer
from envoy_authz.core.patterns import Kind, Pattern, parse_path, parse_pattern, parse_principal
from envoy_sidecar.config.strict import Problem

# RFC 1123, as Kubernetes asks for it of names and namespaces.
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PART = re.compile(r"[a-z0-9-]*")
_MAX_NAME = 253
_MAX_PORT = 65535
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]?)?(?::(?:[0-9]{1,5})?)?")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_ACCOUNT = re.compile(rf"(?:{_LABEL}/)?{_LABEL}(?:\.{_LABEL})*")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
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


def check_namespace_pattern(text: str) -> Problem | None:
    """Check a pattern of `namespaces`."""
    pattern = _parsed(text, parse_pattern)
    if not isinstance(pattern, Pattern):
        return pattern
    if _PART.fullmatch(pattern.text):
        return None
    return f"{text!r} is not a namespace", "use lower-case letters, digits and `-`"


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


def check_path(text: str, mode: Normalization = Normalization.BASE) -> Problem | None:
    """Check a pattern or template of `paths`: in the form of `paths.normalizer(mode)`, with which it is compared."""
    pattern = _parsed(text, parse_path)
    if not isinstance(pattern, Pattern):
        return pattern
    normalized = normalizer(mode)
    if "?" in text or "#" in text:
        return (
            f"{text!r} has a query or fragment, and paths are compared without",
            f"write {normalized(text)!r}",
        )
    if pattern.kind in {Kind.EXACT, Kind.PREFIX} and not text.startswith("/"):
        return f"{text!r} does not begin with `/`, as every path does", f"write '/{text}'"
    if pattern.kind is Kind.TEMPLATE:
        return _check_template(text, normalized)
    # What a pattern leaves open is filled so that it stays what it is: `/a/.*` may go on as `/a/.well-known`.
    before = "/a" if pattern.kind is Kind.SUFFIX else ""
    after = "a" if pattern.kind is Kind.PREFIX else ""
    normal = normalized(f"{before}{pattern.text}{after}")
    if normal != f"{before}{pattern.text}{after}":
        hint = (
            f"write {normal!r}"
            if pattern.kind is Kind.EXACT
            else "leave out `.`, `..`, `\\` and needless escapes, and escape in upper case all that no path may hold"
        )
        return f"{text!r} matches no path, since they are normalized first", hint
    return None


def _check_template(text: str, normalized: Callable[[str], str]) -> Problem | None:
    filled = text.replace("{**}", "a").replace("{*}", "a")
    if normalized(filled) == filled:
        return None
    return f"{text!r} matches no path, since they are normalized first", "write it as paths look after that"


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


def check_host(text: str) -> Problem | None:
    """Check a pattern of `hosts`: an authority (RFC 3986 section 3.2), with a port where it is meant."""
    pattern = _parsed(text, parse_pattern)
    if not isinstance(pattern, Pattern):
        return pattern
    if "/" in text:
        return f"{text!r} is a URL, and hosts are compared alone", "write the host, such as shop.example"
    if not _HOST.fullmatch(pattern.text) and pattern.kind is not Kind.SUFFIX:
        return (
            f"{text!r} is not a host",
            "write one host in each item, such as shop.example or shop.example:*",
        )
    return None


def check_text(text: str) -> Problem | None:
    """Check a pattern that may hold anything."""
    parsed = _parsed(text, parse_pattern)
    return None if isinstance(parsed, Pattern) else parsed


def check_block(text: str) -> Problem | None:
    """Check an IP address or CIDR block."""
    try:
        parse_block(text)
    except ValueError:
        return (
            f"{text!r} is not an IP address or block",
            "write it like 10.1.2.3, 10.0.0.0/8 or 2001:db8::/32",
        )
    return None


def check_port(text: str) -> Problem | None:
    """Check a port, which Istio writes in quotes."""
    if text.isascii() and text.isdigit() and text == str(int(text[:6])) and 0 < int(text) <= _MAX_PORT:
        return None
    return f"{text!r} is not a port", f"write a number from 1 to {_MAX_PORT}, in quotes"


def check_account(text: str) -> Problem | None:
    """Check a service account: `namespace/name`, or `name` alone for one in the policy's own namespace."""
    if _ACCOUNT.fullmatch(text):
        return None
    return f"{text!r} is not a service account", "write it like shop/web, without `*`"


def check_trust_domain(text: str) -> Problem | None:
    """Check a pattern of `trustDomains` (SPIFFE-ID section 2.1)."""
    pattern = _parsed(text, parse_pattern)
    if not isinstance(pattern, Pattern):
        return pattern
    if pattern.kind is Kind.PRESENT or _TRUST_DOMAIN.fullmatch(pattern.text):
        return None
    return f"{text!r} is not a trust domain", "use lower-case letters, digits, `.`, `_` and `-`"


def check_grpc_method(text: str) -> Problem | None:
    """Check a pattern of `grpcMethods`."""
    try:
        grpc_pattern(text)
    except ValueError as error:
        return str(error), "write package.Service/Method or package.Service/*"
    return None


def check_header_name(text: str) -> Problem | None:
    """Check the name of a header that is to be set or removed (RFC 9110 section 5.1)."""
    if not _HEADER.fullmatch(text.lower()):
        return (
            f"{text!r} is not a header's name",
            "use letters, digits and `-`; pseudo headers can't be changed",
        )
    if text.lower() in {"host", "content-length", "transfer-encoding", "connection"}:
        return f"{text!r} can't be changed", "remove it"
    return None


def _parsed(text: str, parse: Callable[[str], Pattern]) -> Pattern | Problem:
    try:
        return parse(text)
    except ValueError as error:
        return str(error), "write a value with at most one `*`, at its start or at its end"
