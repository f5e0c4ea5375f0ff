"""Free TCP ports on loopback."""

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a loopback port that nobody listens on and that the kernel gives to nobody else for a minute.

    A connection made and closed on it leaves it in TIME_WAIT: the kernel then picks it for no other program, while
    one that binds to it by number with SO_REUSEADDR, as servers do, gets it.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, 0))
        listener.listen(1)
        port: int = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            # The side that closes first is the one that stays in TIME_WAIT, and it has to be ours.
            accepted, _peer = listener.accept()
            accepted.close()
    return port
