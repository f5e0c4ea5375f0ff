"""The HTTP admin server: /livez, /readyz, /metrics, /config, and the routes that a service adds."""

import asyncio
import json
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from envoy_sidecar.admin_http import Guard, server_of
from envoy_sidecar.transport import unix_socket
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.claim import listening
from envoy_sidecar.transport.port import ListenError

# A net below the services, which leave secrets out themselves: `redis://user:secret@host` shows no secret.
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^/@\s\"\\:]*):[^/@\s\"\\]*@")
_SOCKET_MODE = 0o600
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the process is ready, and the sentences that say what is not as it should be."""

    ready: bool
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdminViews:
    """What the admin server shows; each function is asked at each request, off the event loop if it may take long."""

    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    config: Callable[[], Mapping[str, object]]


def admin_app(views: AdminViews, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the admin application; *routes* are the service's own."""

    def livez(_request: Request) -> Response:
        return _text("ok\n")

    def readyz(_request: Request) -> Response:
        readiness = views.readiness()
        lines = ["ready" if readiness.ready else "not ready", *readiness.details]
        return _text("\n".join(lines) + "\n", 200 if readiness.ready else 503)

    def metrics(_request: Request) -> Response:
        return Response(views.metrics(), media_type=_PROMETHEUS)

    def config(_request: Request) -> Response:
        text = _PASSWORD_IN_URL.sub(r"\1:***@", json.dumps(views.config(), indent=2, default=str))
        return Response(_bytes(text + "\n"), media_type="application/json")

    own = [Route(f"/{view.__name__}", view) for view in (livez, readyz, metrics, config)]

    def index(_request: Request) -> Response:
        paths = [route.path for route in (*own, *routes) if isinstance(route, Route)]
        return _text("\n".join(sorted(paths)) + "\n")

    # A service that has a page shows that instead.
    has_page = any(isinstance(route, Route) and route.path == "/" for route in routes)
    return Starlette(routes=[*([] if has_page else [Route("/", index)]), *own, *routes])


def _text(text: str, status: int = 200) -> Response:
    return Response(_bytes(text), status, media_type="text/plain")


def _bytes(text: str) -> bytes:
    # A file name that is not UTF-8 holds lone surrogates.
    return text.encode(errors="backslashreplace")


class AdminServer:
    """Serves an application over HTTP on the event loop."""

    def __init__(self, address: Address, app: Starlette) -> None:
        self._address = address
        self._server = server_of(Guard(app, None if address.is_unix else address.host))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Address:
        """Bind and serve; return the address bound. Raises ListenError if it is taken."""
        listener = _listener(self._address)
        self._task = asyncio.get_running_loop().create_task(self._server.serve([listener]))
        if self._address.is_unix:
            return self._address
        return Address(self._address.host, listener.getsockname()[1])

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._task is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            await self._task
            if self._address.is_unix:
                unix_socket.remove(self._address.path)


def _listener(address: Address) -> socket.socket:
    if not address.is_unix:
        return listening(address, "--admin")
    unix_socket.claim(address.path)
    try:
        return unix_socket.listen(address.path, _SOCKET_MODE)
    except OSError as error:
        raise ListenError(f"--admin {address}: {error.strerror or error}") from None
