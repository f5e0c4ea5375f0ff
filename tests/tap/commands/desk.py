"""The tap service on a real port in a thread, an HTTP server to replay to, and the command line as one types it."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette

from envoy_sidecar import cli
from envoy_tap.cli import app
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.session import Kept
from envoy_tap.server import TapSidecar
from envoy_tap.session_sink import SessionSink
from envoy_tap.settings import TapSettings


@dataclass
class Desk:
    """Where the service is, and what puts exchanges into its sessions as its collector would."""

    admin: str
    sidecar: TapSidecar
    loop: asyncio.AbstractEventLoop

    def capture(self, session_id: str, *exchanges: Exchange) -> None:
        """Store *exchanges* as a proxy's."""

        async def store() -> None:
            registry = self.sidecar.registry
            for each in exchanges:
                admitted = registry.admit(replace(each, tap_id=session_id))
                assert isinstance(admitted, Exchange)
                SessionSink(registry._store).write([registry.redacted(admitted)])
                registry.stored(admitted, Kept.of(admitted))

        self._run(store())

    def stop_all(self) -> None:
        """End all sessions: so many may be active, and no more."""

        async def stop() -> None:
            for each in self.sidecar.registry.all():
                await self.sidecar.registry.stop(each.session.id, "the test")

        self._run(stop())

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self.loop).result(30)


@contextmanager
def desk(data: Path, **options: Any) -> Iterator[Desk]:
    """Serve sessions in *data* until the context ends."""
    started = threading.Event()
    found: list[Desk] = []
    server: list[uvicorn.Server] = []

    async def serve() -> None:
        sidecar = TapSidecar(TapSettings(data=data, **options))
        await sidecar.start()
        config = uvicorn.Config(Starlette(routes=list(sidecar.routes())), log_level="error", lifespan="off")
        server.append(uvicorn.Server(config))
        # Who connects before it serves waits in the socket's queue.
        listening = socket.create_server(("127.0.0.1", 0))
        found.append(Desk(f"127.0.0.1:{listening.getsockname()[1]}", sidecar, asyncio.get_running_loop()))
        started.set()
        await server[0].serve([listening])
        await sidecar.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(60)
        yield found[0]
    finally:
        for each in found:
            each.loop.call_soon_threadsafe(each.sidecar.registry.close)
            server[0].should_exit = True
        thread.join(60)


@dataclass
class Ran:
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str


class Shell:
    """Types commands at *admin*."""

    def __init__(self, admin: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._admin = admin
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ran:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.run(app, [*arguments, "--admin", self._admin])
        written = self._capsys.readouterr()
        return Ran(int(str(stopped.value.code)), written.out, written.err)


@dataclass
class Target:
    """An HTTP server that remembers what it was sent, and answers each with *status*."""

    url: str
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    sent: list[tuple[str, str, list[tuple[str, str]], bytes]] = field(default_factory=list)


@contextmanager
def target(certificate: tuple[Path, Path] | None = None) -> Iterator[Target]:
    """Serve HTTP, or with a certificate and its key HTTPS, until the context ends."""
    found = Target("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            found.sent.append((self.command, self.path, list(self.headers.items()), body))
            self.send_response(found.status)
            for name, value in (*found.headers, ("content-length", "2")):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"ok")

        do_GET = do_POST  # noqa: N815 -- the library's name

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        found.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
        yield found
        server.shutdown()
        thread.join()
