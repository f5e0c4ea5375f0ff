"""A Unix socket path is claimed only when nobody listens on it."""

import socket
from contextlib import suppress
from pathlib import Path

from envoy_sidecar.transport.port import ListenError


def claim(path: str) -> None:
    """Remove a stale socket at *path* before binding it.

    Both gRPC libraries replace whatever stands there, even a live server's socket. Raises ListenError if a server
    still answers there, if the folder does not exist, or if the path is some other kind of file.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ListenError(f"unix:{path}: the folder {target.parent} does not exist")
    if not target.exists():
        return
    if not target.is_socket():
        raise ListenError(
            f"unix:{path}: a file that is no socket stands there; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX) as probe, suppress(ConnectionRefusedError, FileNotFoundError):
        probe.connect(path)
        raise ListenError(f"unix:{path}: another server listens there; stop it or choose another path")
    target.unlink(missing_ok=True)
