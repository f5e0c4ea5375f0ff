"""Who watches and does not read costs little memory, and not for long; who reads slowly misses nothing."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from envoy_sidecar.admin import AdminServer
from envoy_sidecar.transport.address import Address
from envoy_tap.access import Authority, Person, Role
from envoy_tap.api import Access
from envoy_tap.api.desk import Desk
from envoy_tap.api.watch import WatchRoute
from envoy_tap.archive import Archive
from envoy_tap.audit import AuditLog, Recorder
from envoy_tap.core.exchange import Message
from envoy_tap.core.policy import Policy
from envoy_tap.registry import Registry
from envoy_tap.slot.slot import Slot
from tests.tap.api import WHY, entry, on, store_exchanges
from tests.tap.building import Clock, exchange
from tests.tap.stores import sqlite_store

LARGE = exchange(request=Message(((":path", b"/"),), b"x" * 200_000))
SEND_S = 0.5


@asynccontextmanager
async def served(
    folder: Path, authority: Authority | None = None
) -> AsyncIterator[tuple[int, Registry, str]]:
    store, log = sqlite_store(folder), AuditLog(folder, [b"key"])
    registry = Registry(Slot(Clock()), store, Policy(), b"key", clock=Clock())
    authority = authority or Authority()
    watch = WatchRoute(
        Desk(registry, authority, Recorder(log)),
        Archive(store),
        Access(authority, Address("127.0.0.1", 0)),
        send_s=SEND_S,
        check_s=0.0,
    )
    person = Person("olga", Role.OPERATOR)

    async def answer(request: Request) -> Response:
        return await watch.watch(request, person)

    app = Starlette(routes=[Route("/{id}/watch", answer)])
    server = AdminServer(Address("127.0.0.1", 0), app)
    bound = await server.start()
    session_id = (await registry.start({**WHY, "limits": {"rate_per_s": 1000}}, "x")).session.id
    try:
        yield bound.port, registry, session_id
    finally:
        await server.stop()
        store.close()
        log.close()


async def connected(port: int, path: str, header: str = "accept: */*") -> socket.socket:
    """Return a connection with little room on this side."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}\r\n\r\n".encode())
    return client


async def test_who_does_not_read_is_let_go(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, registry, session_id):
        store_exchanges(registry, session_id, *[LARGE] * 60)
        client = await connected(port, f"/{session_id}/watch?after=0&full=1")
        async with asyncio.timeout(30):
            while session_id not in registry.watching.sessions:  # noqa: ASYNC110 - on this very loop
                await asyncio.sleep(0.01)
            while session_id in registry.watching.sessions:  # noqa: ASYNC110 - on this very loop
                await asyncio.sleep(0.01)
            received = b""
            while data := await asyncio.get_running_loop().sock_recv(client, 1 << 16):
                received += data
        client.close()
    assert 0 < len(received) < 60 * 200_000
    assert not received.endswith(b"0\r\n\r\n"), "it was cut, not ended"


async def test_who_reads_slowly_misses_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as (port, registry, session_id):
        client = await connected(port, f"/{session_id}/watch?after=0")
        loop, received = asyncio.get_running_loop(), b""
        for number in range(10):
            store_exchanges(registry, session_id, *[on(b"/%d" % number)] * 20)
            received += await loop.sock_recv(client, 100)
        await registry.stop(session_id, "x")
        async with asyncio.timeout(30):
            while b'"state":"stopped"' not in received:
                received += await loop.sock_recv(client, 1 << 16)
        client.close()
    data = [line for line in received.split(b"\n") if line.startswith(b'data: {"seq"')]
    assert [json.loads(line.removeprefix(b"data: "))["seq"] for line in data] == list(range(1, 201))


async def test_who_may_watch_no_longer_is_let_go(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(entry("olga", "operator"), "utf-8")
    authority = Authority(tokens)
    async with served(tmp_path, authority) as (port, registry, session_id):
        client = await connected(port, f"/{session_id}/watch", "authorization: Bearer token-of-olga")
        loop, received = asyncio.get_running_loop(), b""
        async with asyncio.timeout(30):
            while b"event: session" not in received:
                received += await loop.sock_recv(client, 1 << 16)
            tokens.write_text(entry("otto", "operator"), "utf-8")
            authority.reload()
            store_exchanges(registry, session_id, on(b"/later"))
            while b"event: denied" not in received:
                received += await loop.sock_recv(client, 1 << 16)
        client.close()
    assert b"/later" not in received
