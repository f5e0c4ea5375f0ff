"""What the supervisor's admin server asks its workers: one that can be reached, or all."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from envoy_sidecar.admin import AdminServer
from envoy_sidecar.transport.address import Address
from envoy_sidecar.worker_views import WorkerViews


@pytest.fixture
async def worker() -> AsyncIterator[Path]:
    """A worker's admin server, which answers what was posted to it."""

    async def told(request: Request) -> Response:
        return JSONResponse((await request.body()).decode(), 429)

    with tempfile.TemporaryDirectory(prefix="views-") as folder:  # short enough for a socket in it
        path = Path(folder, "0.sock")
        app = Starlette(routes=[Route("/told", told, methods=["GET", "POST"])])
        server = AdminServer(Address(path=str(path)), app)
        await server.start()
        yield path
        await server.stop()


async def first(*sockets: Path, body: bytes | None = None) -> Response:
    return await asyncio.to_thread(WorkerViews(sockets, lambda: 0).first, "/told", body)


async def test_the_first_that_can_be_reached_answers_whatever_it_says(worker: Path) -> None:
    answer = await first(worker.with_name("gone"), worker, body=b"hello")
    assert (answer.status_code, answer.media_type, answer.body) == (429, "application/json", b'"hello"')
    assert (await first(worker)).body == b'""'
    assert (await first(worker.with_name("gone"))).status_code == 503


async def test_a_post_that_one_may_have_received_is_sent_to_no_other(worker: Path) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    path = worker.with_name("dying.sock")
    async with await asyncio.start_unix_server(hang_up, path):
        assert (await first(path, worker, body=b"hello")).status_code == 502
        assert (await first(path, worker)).body == b'""', "a question may be asked again"


async def test_all_are_asked_and_one_that_is_gone_is_told(worker: Path) -> None:
    views = WorkerViews([worker.with_name("gone"), worker], lambda: 0)
    gone, answer = await asyncio.to_thread(views.all, "/told")
    assert gone is None
    assert answer is not None
    assert answer.json() == ""
