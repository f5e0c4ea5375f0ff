"""Finding out, before anything is built, whether an address can be listened on."""

import errno
import socket

from envoy_sidecar.transport import unix_socket
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.port import ListenError


def claim(address: Address, option: str) -> None:
    """Raise ListenError if *address*, which *option* gave, can't be listened on; a dead Unix socket is cleared away.

    Workers share a port by SO_REUSEPORT, so they would share it with a stranger as well if nobody looked before.
    """
    if address.is_unix:
        unix_socket.claim(address.path)
    else:
        listening(address, option).close()


def listening(address: Address, option: str) -> socket.socket:
    """Return a socket that listens on a TCP *address*; raises ListenError, which says what would help."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another server listens there; stop it, or give another address"
        else:
            reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise ListenError(f"{option} {address}: {reason}") from None
