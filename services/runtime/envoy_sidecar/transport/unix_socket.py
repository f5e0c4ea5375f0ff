"""A Unix socket path is claimed only when nobody listens on it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from envoy_sidecar.transport.port import ListenError

_MAX_PATH_BYTES = 107
"""What the kernel's `sockaddr_un` holds besides its final zero."""


def claim(path: str) -> None:
    """Remove a stale socket at *path* before binding it.

    Both gRPC libraries replace whatever stands there, even a live server's socket. Raises ListenError if a server
    still answers there, if the folder does not exist, or if the path is some other kind of file.
    """
    target = Path(path)
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ListenError(
            f"unix:{path}: the path is longer than {_MAX_PATH_BYTES} bytes; choose a shorter one"
        )
    if not target.parent.is_dir():
        raise ListenError(f"unix:{path}: the folder {target.parent} does not exist")
    if not target.exists():
        return
    if not target.is_socket():
        raise ListenError(
            f"unix:{path}: a file that is no socket stands there; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX) as probe, suppress(ConnectionRefusedError, FileNotFoundError):
        probe.setblocking(False)  # a live server whose backlog is full is not waited for
        try:
            probe.connect(path)
        except PermissionError:
            raise ListenError(f"unix:{path}: a socket stands there that belongs to another user") from None
        except BlockingIOError:
            pass
        raise ListenError(f"unix:{path}: another server listens there; stop it or choose another path")
    try:
        target.unlink(missing_ok=True)
    except OSError as error:
        raise ListenError(f"unix:{path}: the socket left there cannot be removed: {error}") from None


@contextmanager
def created_with(path: str, mode: int) -> Iterator[None]:
    """Let the socket that is bound at *path* inside have *mode* from the first moment, whatever the umask is."""
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)
    with suppress(FileNotFoundError):  # not bound after all, which the caller finds out
        Path(path).chmod(mode)


def listen(path: str, mode: int) -> socket.socket:
    """Return a socket of *mode* that listens at *path*, which was claimed. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        with created_with(path, mode):
            listener.bind(path)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def remove(path: str) -> None:
    """Remove the socket of a listener that has closed."""
    Path(path).unlink(missing_ok=True)
