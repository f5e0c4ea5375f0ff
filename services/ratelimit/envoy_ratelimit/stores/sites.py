"""A site: the servers that hold one set of buckets, and which of them holds which."""

from collections.abc import Callable
from typing import Protocol

from envoy_ratelimit.stores.address import StoreAddress
from envoy_ratelimit.stores.cluster import ClusterSite
from envoy_ratelimit.stores.connection import Connection, ReplyError, connect
from envoy_ratelimit.stores.lane import CONNECT_TIMEOUT_S, Lane
from envoy_ratelimit.stores.names import Spread, single_names
from envoy_ratelimit.stores.sentinel import primary_of

Place = tuple[Lane, int]
"""The way to a server, and the slot there: one call of the script is for one place."""


class Site(Protocol):
    """Where buckets are."""

    @property
    def only(self) -> Place | None:
        """The place of all buckets, if there is only one."""

    @property
    def named(self) -> Callable[[str], str] | None:
        """What gives a bucket its name on the server; None if it has the one it came with."""

    def place(self, key: str, deadline_s: float) -> Place:
        """Return where a bucket is. Raises StoreError if that cannot be found out by *deadline_s*."""

    def moved(self, slot: int, error: ReplyError) -> tuple[Lane, bool] | None:
        """Return the lane that *error* says to ask instead, and whether that is for this time only (ASKING)."""

    def start(self) -> None:
        """Begin to connect."""

    def look(self) -> None:
        """Connect again, in the background, to servers that have closed their connection; not while one is asked."""

    def why_down(self) -> str:
        """Say why a server of it is not asked; empty if all are. From any thread."""

    def close(self) -> None:
        """Close all connections."""


class SingleSite:
    """One server, or whichever the Sentinels name."""

    def __init__(self, address: StoreAddress, *, prefix: str, timeout_s: float) -> None:
        if address.topology == "sentinel":
            name = f"{address.service} by Sentinel"
            opens = primary_of(address, timeout_s=CONNECT_TIMEOUT_S)
        else:
            (server,) = address.servers
            name = str(server)

            def opens() -> Connection:
                return connect(
                    server, login=address.login, tls=address.tls, db=address.db, timeout_s=CONNECT_TIMEOUT_S
                )

        self._lane = Lane(name, opens, timeout_s=timeout_s)
        self.only: Place | None = (self._lane, 0)
        self.named = single_names(prefix)

    def place(self, key: str, deadline_s: float) -> Place:
        """See Site."""
        del key, deadline_s
        return self._lane, 0

    def moved(self, slot: int, error: ReplyError) -> tuple[Lane, bool] | None:
        """See Site: there is no other."""
        del slot, error
        return None

    def start(self) -> None:
        """See Site."""
        self._lane.start()

    def look(self) -> None:
        """See Site."""
        self._lane.look()

    def why_down(self) -> str:
        """See Site."""
        return self._lane.why_down()

    def close(self) -> None:
        """See Site."""
        self._lane.close()


def open_site(address: StoreAddress, *, prefix: str, spread: Spread, timeout_s: float) -> Site:
    """Return the site at *address*; it connects when it is started or first used."""
    if address.topology == "cluster":
        return ClusterSite(address, prefix=prefix, spread=spread, timeout_s=timeout_s)
    return SingleSite(address, prefix=prefix, timeout_s=timeout_s)
