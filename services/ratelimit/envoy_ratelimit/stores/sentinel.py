"""Finds the primary by asking the Sentinels, and makes sure that it is one."""

import logging
from collections.abc import Callable

from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.stores.address import Endpoint, StoreAddress
from envoy_ratelimit.stores.connection import Connection, connect

LOG = logging.getLogger(__name__)


def connect_to_primary(address: StoreAddress, *, timeout_s: float) -> Connection:
    """Return a connection to the primary of `address.service`; the Sentinels are asked in turn.

    Each step has *timeout_s*. Raises StoreError.
    """
    kind, whys = "connection", []
    for sentinel in address.servers:
        try:
            primary = _ask(address, sentinel, timeout_s)
            connection = connect(
                primary, login=address.login, tls=address.tls, db=address.db, timeout_s=timeout_s
            )
            try:
                _require_primary(connection, timeout_s)
            except BaseException:
                connection.close()
                raise
        except StoreError as error:
            LOG.debug("by Sentinel %s: %s", sentinel, error)
            kind = error.kind
            whys.append(str(error))
        else:
            return connection
    # Each once: the last of them need not be the one that tells.
    raise StoreError(kind, "; ".join(dict.fromkeys(whys)) or "no Sentinel is configured")


def _ask(address: StoreAddress, sentinel: Endpoint, timeout_s: float) -> Endpoint:
    connection = connect(sentinel, login=address.sentinel_login, tls=address.tls, timeout_s=timeout_s)
    try:
        found = connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service, timeout_s=timeout_s)
    finally:
        connection.close()
    if not found:
        raise StoreError("connection", f"Sentinel {sentinel} knows no {address.service!r}")
    host, port = found
    return Endpoint(host.decode(), int(port))


def _require_primary(connection: Connection, timeout_s: float) -> None:
    role = connection.ask("ROLE", timeout_s=timeout_s)[0]
    if role != b"master":
        raise StoreError("connection", f"{connection.endpoint} is no primary, but a {role.decode()}")


def primary_of(address: StoreAddress, *, timeout_s: float) -> Callable[[], Connection]:
    """Return what connects to the primary there is at that time."""
    return lambda: connect_to_primary(address, timeout_s=timeout_s)
