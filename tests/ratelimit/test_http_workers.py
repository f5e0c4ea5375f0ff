"""With several workers the admin server has the same routes: any worker decides, and all have counted."""

import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from envoy_demo.processes import Processes
from envoy_demo.services import start_ratelimit
from envoy_demo.valkey import Valkey
from envoy_ratelimit.commands import uncounted
from envoy_ratelimit.commands.check import AskedService, check
from envoy_ratelimit.http import routes, worker_routes
from envoy_ratelimit.observe.observer import SKETCH_KEYS
from envoy_ratelimit.server import RatelimitSidecar
from envoy_ratelimit.settings import RatelimitSettings
from envoy_ratelimit.wire_json import make_request
from envoy_sidecar.admin import AdminServer
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.port import Call
from envoy_sidecar.worker_views import WorkerViews
from tests.ratelimit.asking import Admin

LIMITS = """
domain: workers
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 2 }
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="rl-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def admin(folder: Path, valkey: Valkey) -> Iterator[Admin]:
    limits = folder / "limits.yaml"
    limits.write_text(LIMITS, "utf-8")
    options = ["--workers", "2", "--listen", f"unix:{folder}/{{worker}}.sock"]
    # Each of the three requests below is to reach the store, and in time however busy the machine.
    options += ["--store-denials", "0", "--store-timeout", "1"]
    with Processes(folder) as processes:
        service = start_ratelimit(processes, limits, valkey.url, options)
        service.wait_ready()
        asked = Admin(service)
        yield asked
        asked.close()


def test_what_one_worker_decides_and_another_counts_is_shown_as_of_one_service(
    admin: Admin, folder: Path
) -> None:
    assert admin.ask("workers", {"user": "ann"}).status_code == 200
    service = AskedService(listen=f"unix:{folder}/1.sock")
    assert check(service, "workers", [(("user", "ann"),)], "json") == 0
    refused = admin.ask("workers", {"user": "ann"})
    assert (refused.status_code, refused.json()["overallCode"]) == (429, "OVER_LIMIT")
    stats = dict(line.split(": ") for line in admin.get("/stats").text.splitlines())
    name = "ratelimit.service.rate_limit.workers.user"
    assert (stats[f"{name}.total_hits"], stats[f"{name}.over_limit"]) == ("3", "1")
    row = {"domain": "workers", "rule": "user", "key": "ann", "hits": 3, "error": 0}
    admin.service.process.until(
        lambda: True if row in admin.get("/top").json()["hottest"] else None, "what both workers saw, in /top"
    )
    assert len(admin.get("/top?count=1").json()["denied"]) == 1


def test_the_limits_and_the_health_are_those_of_the_workers(admin: Admin) -> None:
    assert admin.get("/rlconfig").text.startswith("workers.user: unit=DAY requests_per_unit=2")
    assert (admin.get("/healthcheck").status_code, admin.get("/healthcheck").text) == (200, "OK")


def test_check_of_one_workers_socket_asks_the_admin_server_of_them_all(
    admin: Admin, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uncounted, "DEFAULT_ADMIN", admin.address)
    service = AskedService(listen=f"unix:{folder}/1.sock")
    assert check(service, "workers", [(("nobody", "x"),)], "text") == 0
    assert "none: no limit matches" in capsys.readouterr().out


def test_what_cannot_be_answered_is_refused_as_one_process_does(admin: Admin) -> None:
    assert admin.post(b"{").status_code == 400
    assert "not a RateLimitRequest" in admin.post(b"{").text
    assert admin.post(b" " * (5 * 1024 * 1024)).status_code == 413
    assert admin.get("/top?count=0").status_code == 400
    page = httpx.post(f"http://{admin.address}/json", content=b"{}", headers={"origin": "http://page"})
    assert page.status_code == 403


async def test_without_a_worker_nothing_is_decided_and_the_health_says_so(tmp_path: Path) -> None:
    app = Starlette(routes=worker_routes(WorkerViews([tmp_path / "gone"], lambda: 0)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        assert (await client.post("/json", json={"domain": "workers"})).status_code == 503
        assert (await client.get("/healthcheck")).status_code == 500


async def test_a_key_is_among_the_heaviest_that_is_so_only_by_what_all_workers_saw(folder: Path) -> None:
    limits = folder / "top.yaml"
    limits.write_text(LIMITS, "utf-8")
    async with AsyncExitStack() as stack:
        sockets = [folder / f"top-{number}.sock" for number in range(2)]
        for socket in sockets:
            sidecar = RatelimitSidecar(RatelimitSettings(config=(limits,)))
            # As many as a sketch holds go before, so that it has to guess: each that comes later may have had one hit.
            hits = {f"light-{number}": 1 for number in range(SKETCH_KEYS)}
            hits |= {f"{socket.stem}-{number}": 10 for number in range(20)} | {"everywhere": 9}
            for key, cost in hits.items():
                sidecar.decide([Call(make_request("workers", [[("user", key)]], hits=cost))])
            await sidecar.observer.digest()
            server = AdminServer(Address(path=str(socket)), Starlette(routes=routes(sidecar)))
            await server.start()
            stack.push_async_callback(server.stop)
        app = Starlette(routes=worker_routes(WorkerViews(sockets, lambda: 0)))
        client = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin")
        )
        found = (await client.get("/top?count=2")).json()["hottest"]
    assert found[0] == {"domain": "workers", "rule": "user", "key": "everywhere", "hits": 20, "error": 2}
    assert (found[1]["hits"], found[1]["error"]) == (11, 1)
