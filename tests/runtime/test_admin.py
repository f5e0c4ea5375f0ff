"""The admin server: its endpoints, what it hides, and what it answers when something is wrong."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from envoy_sidecar import admin_client, admin_http
from envoy_sidecar.admin import AdminServer, AdminViews, Readiness, admin_app
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.port import ListenError


@dataclass
class Shown:
    """What the admin server is made to show."""

    readiness: Readiness = field(default_factory=lambda: Readiness(ready=True))
    config: dict[str, object] = field(default_factory=dict)
    broken: bool = False

    def read_config(self) -> Mapping[str, object]:
        if self.broken:
            raise RuntimeError("a secret of the inside")
        return self.config

    @property
    def views(self) -> AdminViews:
        return AdminViews(lambda: self.readiness, lambda: b"# metrics\n", self.read_config)


def own(request: Request) -> Response:
    return PlainTextResponse(request.path_params["name"])


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
async def client(shown: Shown) -> AsyncIterator[httpx.AsyncClient]:
    server = AdminServer(
        Address("127.0.0.1", 0),
        admin_app(shown.views, [Route("/sessions/{name}", own, methods=["GET", "PUT"])]),
    )
    address = await server.start()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as client:
        yield client
    await server.stop()


async def test_livez_and_metrics(client: httpx.AsyncClient) -> None:
    live, metrics = await client.get("/livez"), await client.get("/metrics")
    assert (live.status_code, live.text) == (200, "ok\n")
    assert (metrics.status_code, metrics.text) == (200, "# metrics\n")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_readyz_is_200_or_503_with_details(client: httpx.AsyncClient, shown: Shown) -> None:
    shown.readiness = Readiness(ready=True, details=("a word of warning",))
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.text) == (200, "ready\na word of warning\n")
    shown.readiness = Readiness(ready=False, details=("starting",))
    not_ready = await client.get("/readyz")
    assert (not_ready.status_code, not_ready.text) == (503, "not ready\nstarting\n")


async def test_config_is_json_in_which_urls_show_no_password(client: httpx.AsyncClient, shown: Shown) -> None:
    shown.config = {
        "store": "redis://user:pass:word@cache:6379/0",
        "sentinels": ["redis+sentinel://:hunter2@a:1,b:2/x", "redis://cache:6379"],
        "path": Path("/etc/x"),
        "principal": "spiffe://cluster.local/ns/a/sa/b",
        "note": "a: b@c",
    }
    answer = await client.get("/config")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "store": "redis://user:***@cache:6379/0",
        "sentinels": ["redis+sentinel://:***@a:1,b:2/x", "redis://cache:6379"],
        "path": "/etc/x",
        "principal": "spiffe://cluster.local/ns/a/sa/b",
        "note": "a: b@c",
    }


async def test_the_index_names_the_paths_and_a_services_own_routes_are_served(
    client: httpx.AsyncClient,
) -> None:
    index = await client.get("/")
    assert index.text.split() == ["/config", "/livez", "/metrics", "/readyz", "/sessions/{name}"]
    assert (await client.put("/sessions/one")).text == "one"


async def test_a_service_with_a_page_of_its_own_shows_that_as_the_index() -> None:
    views = AdminViews(lambda: Readiness(ready=True), bytes, dict)
    app = admin_app(views, [Route("/", lambda _request: Response("a page"))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/")).text == "a page"
        assert (await client.get("/livez")).text == "ok\n"


async def test_an_unknown_path_is_404_and_another_method_405(client: httpx.AsyncClient) -> None:
    assert (await client.get("/unknown")).status_code == 404
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/livez", "/readyz", "/metrics", "/config"):
            assert (await client.request(method, path)).status_code == 405


async def test_a_view_that_fails_is_500_without_its_reason_and_is_logged(
    client: httpx.AsyncClient, shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    shown.broken = True
    answer = await client.get("/config")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "a secret of the inside" in caplog.text
    shown.broken = False
    assert (await client.get("/config")).status_code == 200


async def test_noise_on_the_port_leaves_it_serving(client: httpx.AsyncClient) -> None:
    url = client.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"\x00\xff" * 2000 + b"\r\n\r\n")
    writer.close()
    assert (await client.get("/livez")).status_code == 200


@pytest.mark.parametrize("kind", ["tcp", "unix", "ipv6"])
async def test_it_listens_on_each_kind_of_address_and_a_taken_one_fails_loudly(
    kind: str, tmp_path: Path, shown: Shown
) -> None:
    address = {
        "tcp": Address("127.0.0.1", 0),
        "unix": Address(path=str(tmp_path / "admin.sock")),
        "ipv6": Address("::1", 0),
    }[kind]
    if kind == "ipv6" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    server = AdminServer(address, admin_app(shown.views))
    bound = await server.start()
    answer = await asyncio.to_thread(admin_client.get, bound, "/livez")
    assert answer.text == "ok\n"
    with pytest.raises(ListenError, match="another server listens there"):
        await AdminServer(bound, admin_app(shown.views)).start()
    await server.stop()
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


async def test_a_socket_path_that_is_too_long_is_refused_with_its_bound(tmp_path: Path, shown: Shown) -> None:
    address = Address(path=str(tmp_path / ("x" * 120)))
    with pytest.raises(ListenError, match="longer than 107 bytes"):
        await AdminServer(address, admin_app(shown.views)).start()


async def test_silent_connections_neither_last_nor_keep_probes_out(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = client.base_url.host, client.base_url.port
    silent = [await asyncio.open_connection(host, port) for _ in range(300)]
    for path in ("/livez", "/readyz"):
        assert (await client.get(path)).status_code == 200
    cut = [asyncio.create_task(reader.read()) for reader, _ in silent[:99]]
    await asyncio.wait_for(asyncio.gather(*cut, return_exceptions=True), 10)
    monkeypatch.setattr(admin_http, "REQUEST_S", 0.2)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li"
    )  # and the rest of the second never comes
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 10)
    for _, left in [*silent, (reader, writer)]:
        left.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9192", 200),
        ("10.0.0.1", 200),
        ("[::1]:9192", 200),
        ("[::1]", 200),
        ("LocalHost:1", 200),
        ("evil.example:9192", 421),
        ("127.0.0.1.evil.example", 421),
        ("[evil.example]", 421),
        ("localhost.evil.example", 421),
    ],
)
async def test_only_a_host_that_no_foreign_page_has_is_answered(
    client: httpx.AsyncClient, host: str, status: int
) -> None:
    for path in ("/config", "/sessions/one"):
        answer = await client.get(path, headers={"Host": host})
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_host_of_the_option_is_answered_and_every_one_on_a_unix_socket(
    shown: Shown, tmp_path: Path
) -> None:
    for host, status in (("Admin.Example", 200), ("other.example", 421)):
        app = admin_http.Guard(admin_app(shown.views), "admin.example")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}") as named:
            assert (await named.get("/livez")).status_code == status
    path = str(tmp_path / "admin.sock")
    server = AdminServer(Address(path=path), admin_app(shown.views))
    await server.start()
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=path), base_url="http://any"
    ) as local:
        assert (await local.get("/livez")).status_code == 200
    await server.stop()


async def test_names_that_are_not_utf_8_are_shown_escaped(client: httpx.AsyncClient, shown: Shown) -> None:
    shown.readiness = Readiness(ready=True, details=("bad\udcff.yaml:1:1",))
    shown.config = {"file": "bad\udcff.yaml"}
    assert (await client.get("/readyz")).text == "ready\nbad\\udcff.yaml:1:1\n"
    assert (await client.get("/config")).status_code == 200
