"""Values on both sides of what a policy writes: what just matches a pattern, and what just does not."""

import re
from collections.abc import Iterable, Iterator

from envoy_authz.commands.dimensions import Value
from envoy_authz.core.addresses import parse_block
from envoy_authz.core.operations import grpc_pattern
from envoy_authz.core.patterns import SPIFFE_SCHEME, Kind, Pattern, parse_path, parse_pattern, parse_principal

_MAX_PORT = 65535
_NAMESPACE_END = re.compile(r".*/ns/[^/]+/")
_DELIMITERS = "/.:-_"


def around_text(text: str) -> Iterator[str]:
    """Yield values around a pattern of plain text."""
    yield from _around(parse_pattern(text), "x")


def _around(pattern: Pattern, filler: str) -> Iterator[str]:
    text = pattern.text
    if pattern.kind is Kind.EXACT:
        yield from (text, f"{text}{filler}", text[:-1])
    elif pattern.kind is Kind.PREFIX:
        yield from (f"{text}{filler}", text, text.rstrip(_DELIMITERS), text[:-1])
    elif pattern.kind is Kind.SUFFIX:
        yield from (f"{filler}{text}", text, text.lstrip(_DELIMITERS), text[1:])
    else:
        yield filler


def around_path(text: str) -> Iterator[str]:
    """Yield paths around a pattern or template of `paths`."""
    pattern = parse_path(text)
    if pattern.kind is Kind.TEMPLATE:
        for one, rest in (("x", "x"), ("x", "x/y"), ("x", ""), ("x/y", "x")):
            yield pattern.text.replace("{**}", rest).replace("{*}", one)
        filled = pattern.text.replace("{**}", "x").replace("{*}", "x")
        yield from (f"{filled}/x", filled.rpartition("/")[0] or "/")
        return
    if pattern.kind is Kind.SUFFIX:
        yield from (f"/x{pattern.text}", f"/x{pattern.text}x")
        return
    yield from _around(pattern, "x")
    if pattern.kind is Kind.EXACT:
        yield from (f"{text.rstrip('/')}/", f"{text.rstrip('/')}/x")


def around_host(text: str) -> Iterator[str]:
    """Yield authorities around a pattern of `hosts`, with and without a port."""
    pattern = parse_pattern(text.lower())
    if pattern.kind is Kind.PREFIX and pattern.text.endswith(":"):
        yield from (f"{pattern.text}8080", pattern.text[:-1])
        return
    for host in _around(pattern, "x"):
        yield host
        if ":" not in host:
            yield f"{host}:8080"


def around_principal(text: str) -> Iterator[str]:
    """Yield identities around a pattern of `principals`."""
    pattern = parse_principal(text)
    for name in _around(pattern, "x"):
        if pattern.kind is Kind.SUFFIX and name == "x" + pattern.text:
            yield f"{SPIFFE_SCHEME}other.example/{pattern.text.lstrip('/')}"
            continue
        if _NAMESPACE_END.fullmatch(pattern.text) and name == pattern.text + "x":
            yield f"{SPIFFE_SCHEME}{pattern.text}sa/x"
        if name:
            yield SPIFFE_SCHEME + name


def around_grpc(text: str) -> Iterator[str]:
    """Yield paths around a pattern of `grpcMethods`."""
    yield from _around(grpc_pattern(text), "x")


def around_block(text: str) -> Iterator[str]:
    """Yield the first and the last address of a block, and those beside it."""
    block = parse_block(text)
    first, last = block.network_address, block.broadcast_address
    yield str(first)
    yield str(last)
    if int(first) > 0:
        yield str(first - 1)
    if int(last) < 2**block.max_prefixlen - 1:
        yield str(last + 1)


def around_port(text: str) -> Iterator[int]:
    """Yield a port and its neighbours."""
    port = int(text)
    yield from (near for near in (port, port + 1, port - 1) if 0 < near <= _MAX_PORT)


def around_identities(
    domains: Iterable[str], namespaces: Iterable[str], accounts: Iterable[str]
) -> Iterator[str]:
    """Yield identities for patterns of `trustDomains` and `namespaces` and for `serviceAccounts`, in all pairs."""
    domains = tuple(dict.fromkeys(value for text in domains for value in around_text(text) if value))
    spaces = tuple(dict.fromkeys(value for text in namespaces for value in around_text(text) if value))
    for domain in domains or ("cluster.local",):
        # An account that no pattern of `principals` may have written.
        for space in spaces or ("other",):
            yield f"{SPIFFE_SCHEME}{domain}/ns/{space}/sa/other"
        for account in accounts:
            space, _slash, name = account.partition("/")
            yield f"{SPIFFE_SCHEME}{domain}/ns/{space}/sa/{name}"
            yield f"{SPIFFE_SCHEME}{domain}/ns/{space}/sa/{name}x"


def around_number(value: float) -> Iterator[Value]:
    """Yield a number and its neighbours."""
    yield from (value, value + 1, value - 1)
