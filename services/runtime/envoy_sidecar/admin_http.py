"""The HTTP side of the admin server: connections that come to nothing, and hosts that are not its own."""

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

REQUEST_S = 5.0
"""How long a connection may take to send the head of a request."""

MAX_CONNECTIONS = 200
"""When more are open, the one that has been idle longest is closed; 503 only if every one is being answered."""


_CUT = "envoy_sidecar.cut"


def cut_connection(scope: Scope) -> None:
    """Close the connection of a request at once, for one who does not read: closing politely would wait for them."""
    cut = scope.get(_CUT)
    if cut is not None:
        cut()


class Server(uvicorn.Server):
    """uvicorn without its own signal handling, which the lifecycle has."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def server_of(app: ASGIApp) -> Server:
    """Return a server of *app*, not yet started."""
    return Server(
        uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Never reached by idle connections, which are closed at one less.
            limit_concurrency=MAX_CONNECTIONS + 1,
        )
    )


class Guard:
    """Answers 421 to a host that is not the server's own, and forbids browsers to guess types.

    A page in an operator's browser may have its own name resolve to 127.0.0.1 (DNS rebinding) and would read what the
    admin server shows. It can't do so with an IP address, with `localhost`, or with the *host* of `--admin`.
    """

    def __init__(self, app: ASGIApp, host: str | None) -> None:
        """Guard *app*; *host* None stands for a Unix socket, which no page can reach."""
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request as ASGI says."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        app = self._app
        if scope["type"] == "http" and not self._is_own(Headers(scope=scope).get("host", "")):
            text = "this server answers to an IP address, to localhost, and to the host in --admin\n"
            app = PlainTextResponse(text, 421)
        await app(scope, receive, send_guarded)

    def _is_own(self, host: str) -> bool:
        if self._host is None or not host:  # every browser names a host
            return True
        name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        if name.lower() in {"localhost", self._host.lower()}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class _Connection(H11Protocol):
    """An HTTP connection that is closed when it sends no request for a while, or when others need its place."""

    idle_since_s = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; close another connection if there are too many."""
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > MAX_CONNECTIONS:
            others = [other for other in self.connections if isinstance(other, _Connection)]
            idle = [other for other in others if other is not self and other.is_idle]
            if idle:
                min(idle, key=lambda other: other.idle_since_s).cut()

    def handle_events(self) -> None:
        """Begin to answer the requests that have arrived, each of which may `cut_connection`."""
        super().handle_events()
        if self.cycle is not None:
            scope: Any = self.cycle.scope
            scope[_CUT] = self.cut

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._await_request()

    def _await_request(self) -> None:
        # The library's own bound begins after the first answer, and ends at the first byte of the next request.
        self.idle_since_s = self.loop.time()
        self.loop.call_later(REQUEST_S, self._cut_if_silent)

    def _cut_if_silent(self) -> None:
        if self.is_idle and self.loop.time() - self.idle_since_s >= REQUEST_S * 0.99:
            self.cut()

    def cut(self) -> None:
        """Close it at once."""
        self.connections.discard(self)
        self.transport.abort()
