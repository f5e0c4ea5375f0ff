"""IP addresses and blocks, and which address is the client's."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address


_MAX_CHARACTERS = 64
"""More than any address has, with its zone; a client may send 60 KB in place of one, and they would be remembered."""


def parse_address(text: str) -> Address | None:
    """Return the address, an IPv4 one if it is mapped into IPv6 (RFC 4291 section 2.5.5.2); None if it is none."""
    return _parsed(text) if len(text) <= _MAX_CHARACTERS else None


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_block(text: str) -> IPv4Network | IPv6Network:
    """Read a CIDR or an address; bits after the prefix are ignored, as Envoy does. Raises ValueError if it is neither."""
    block = ip_network(text, strict=False)
    if isinstance(block, IPv6Network) and block.prefixlen >= 96 and block.network_address.ipv4_mapped:  # noqa: PLR2004 - ::ffff:0:0/96
        return IPv4Network((block.network_address.ipv4_mapped, block.prefixlen - 96))
    return block


def in_blocks(texts: Iterable[str]) -> Callable[[Address | None], bool]:
    """Return a test whether an address is in any of the blocks; None is in none."""
    ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for block in map(parse_block, texts):
        ranges[block.version].append((int(block.network_address), int(block.broadcast_address)))

    def test(address: Address | None) -> bool:
        if address is None:
            return False
        number = int(address)
        return any(first <= number <= last for first, last in ranges[address.version])

    return test


def client_address(peer: str, forwarded_for: str | None, trusted_hops: int) -> str:
    """Return the client's address as text: the peer's, or what the outermost of *trusted_hops* proxies saw.

    Envoy appends the peer to X-Forwarded-For (`use_remote_address`); the entries before it are from right to left
    what each proxy saw. With too few entries the peer is the client, as Envoy has it.
    """
    if trusted_hops == 0 or not forwarded_for:
        return peer
    entries = [entry.strip() for entry in forwarded_for.rsplit(",", trusted_hops + 1)]
    if parse_address(peer) is not None and parse_address(entries[-1]) == parse_address(peer):
        entries.pop()
    return entries[-trusted_hops] if len(entries) >= trusted_hops else peer
