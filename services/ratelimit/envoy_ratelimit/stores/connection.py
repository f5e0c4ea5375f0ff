"""One connection to a server: opened by redis-py, then used with one deadline for all that a batch waits for."""

import select
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Any

import hiredis
import redis
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.stores.address import Endpoint, FileError, Login, Tls

_BUFFER_BYTES = 65_536
_LOGIN_BUFFER_BYTES = 1024
_NOBODY = Login()
_WITHOUT_TLS = "; perhaps it does not speak TLS, and the URL is to begin with redis instead of rediss"
_WITH_TLS = "; perhaps it speaks only TLS, and the URL is to begin with rediss instead of redis"
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
# redis-py's connections are not typed.
_TCP: Any = redis.Connection
_TLS: Any = redis.SSLConnection
_UNIX: Any = redis.UnixDomainSocketConnection


class ReplyError(Exception):
    """An error that the server gave as its answer; `code` is its first word, such as NOSCRIPT."""

    @property
    def code(self) -> str:
        """The first word of the message."""
        return str(self).partition(" ")[0]


class Connection:
    """A connection that is logged in. Not thread-safe; after a StoreError it is of no more use than to be closed."""

    def __init__(self, link: Any, endpoint: Endpoint, if_closed: str = "") -> None:
        """Use what *link* has opened; *if_closed* is why the server may hang up on the first command."""
        self.endpoint = endpoint
        self._if_closed = if_closed
        self._link = link
        # redis-py bounds each wait, not their sum, and offers no way to its socket: hence this one private name.
        self._socket: socket.socket = link._sock  # noqa: SLF001
        self._reader = hiredis.Reader(replyError=ReplyError, notEnoughData=Ellipsis)
        self._buffer = bytearray(_BUFFER_BYTES)

    def send(self, data: bytes, deadline_s: float) -> None:
        """Send packed commands until *deadline_s* (monotonic). Raises StoreError."""
        try:
            self._socket.settimeout(max(0.0, deadline_s - monotonic()))
            self._socket.sendall(data)
        except (TimeoutError, BlockingIOError):
            raise self._late() from None
        except OSError as error:
            raise self._broken(error) from None

    def receive(self, deadline_s: float) -> Any:
        """Return the next answer, a ReplyError among them, by *deadline_s*; what is there already is taken later too.

        Raises StoreError.
        """
        reader = self._reader
        try:
            while (reply := reader.gets()) is Ellipsis:
                self._socket.settimeout(max(0.0, deadline_s - monotonic()))
                size = self._socket.recv_into(self._buffer)
                if not size:
                    raise StoreError("connection", f"{self.endpoint} closed the connection")
                reader.feed(self._buffer, 0, size)  # type: ignore[arg-type] # the stub forgets buffers
        except (TimeoutError, BlockingIOError):
            raise self._late() from None
        except OSError as error:
            # An SSL socket that would block says so by an error of its own.
            if type(error).__name__ == "SSLWantReadError":
                raise self._late() from None
            raise self._broken(error) from None
        except hiredis.ProtocolError as error:
            raise StoreError("response", f"{self.endpoint} does not speak Redis: {error}") from None
        return reply

    def ask(self, *command: str | bytes | int, timeout_s: float) -> Any:
        """Return the answer to one command. Raises StoreError, also for an error as the answer."""
        deadline_s = monotonic() + timeout_s
        try:
            self.send(packed(command), deadline_s)
            reply = self.receive(deadline_s)
        except StoreError as error:
            hint = self._if_closed if error.kind == "connection" else ""
            raise StoreError(error.kind, f"{error}{hint}") from None
        self._if_closed = ""
        if isinstance(reply, ReplyError):
            raise StoreError("response", f"{self.endpoint} refused: {reply}")
        return reply

    def is_gone(self) -> bool:
        """Tell, without waiting, whether the server has closed it or died."""
        poll = select.poll()
        poll.register(self._socket, _GONE)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it."""
        self._link.disconnect()

    def _late(self) -> StoreError:
        return StoreError("timeout", f"{self.endpoint} did not answer in time")

    def _broken(self, error: OSError) -> StoreError:
        return StoreError("connection", f"{self.endpoint} cannot be reached: {error}")


def packed(command: Sequence[str | bytes | int]) -> bytes:
    """Return a command as it goes over the wire."""
    return hiredis.pack_command(tuple(command))  # type: ignore[no-any-return, arg-type, unused-ignore]


def connect(
    endpoint: Endpoint, *, login: Login = _NOBODY, tls: Tls | None = None, db: int = 0, timeout_s: float
) -> Connection:
    """Open a connection, each step of which has *timeout_s*. It may block on DNS, so never on the hot path.

    Raises StoreError.
    """
    with_tls = _WITH_TLS if tls is None and not endpoint.path else ""
    try:
        options: dict[str, Any] = {
            "db": db,
            "username": login.user or None,
            "password": login.secret() or None,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            # RESP2 and no name of a library: then only a login and a database cost round trips.
            "protocol": 2,
            "driver_info": None,
            # Its parser reads the answers to these alone; it refers to itself, so its buffer outlives the connection.
            "socket_read_size": _LOGIN_BUFFER_BYTES,
        }
        if endpoint.path:
            link: Any = _UNIX(path=endpoint.path, **options)
        elif tls is None:
            link = _TCP(host=endpoint.host, port=endpoint.port, socket_keepalive=True, **options)
        else:
            tls.require_files()
            link = _TLS(
                host=endpoint.host,
                port=endpoint.port,
                socket_keepalive=True,
                ssl_ca_certs=tls.ca,
                ssl_certfile=tls.certificate,
                ssl_keyfile=tls.key,
                ssl_check_hostname=tls.check_hostname,
                **options,
            )
        link.connect()
    except FileError as error:
        raise StoreError("connection", f"{endpoint} cannot be reached: {error}") from None
    except RedisTimeoutError as error:
        # redis-py says the same of both.
        hint = _WITHOUT_TLS if "handshake" in str(error.__context__) else ""
        raise StoreError("timeout", f"{endpoint} did not answer in time: {error}{hint}") from None
    except AuthenticationError as error:
        raise StoreError("response", f"{endpoint} refused: {error}") from None
    except (RedisConnectionError, OSError) as error:
        hint = with_tls if isinstance(error.__context__, ConnectionResetError) else ""
        raise StoreError("connection", f"{endpoint} cannot be reached: {error}{hint}") from None
    except RedisError as error:
        raise StoreError("response", f"{endpoint} refused: {error}") from None
    return Connection(link, endpoint, with_tls)
