"""The console's files: all of them shipped, each under the policy, none asking anything of another host."""

import asyncio
import re
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from envoy_sidecar.admin import AdminServer, AdminViews, Readiness, admin_app
from envoy_sidecar.transport.address import Address
from envoy_tap.console import pages
from envoy_tap.console.command import console

ROOT = Path(__file__).parents[3]
STATIC = Path(pages.__file__).with_name("static")
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
NAMES = [str(path.relative_to(STATIC)) for path in FILES]


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = Starlette(routes=pages.routes())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:9394")


@pytest.mark.parametrize("name", NAMES)
async def test_every_file_is_served_as_what_it_is_under_the_policy(
    client: httpx.AsyncClient, name: str
) -> None:
    answer = await client.get(f"/console/{name}")
    assert answer.status_code == 200
    assert answer.content == (STATIC / name).read_bytes()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    kinds = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])
    again = await client.get(f"/console/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path", ["../pages.py", "%2e%2e/pages.py", "js/../../pages.py", "/etc/passwd", "js", "", "js/none.js"]
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/console/{path}")).status_code == 404


async def test_the_page_has_nothing_inline(client: httpx.AsyncClient) -> None:
    text = (await client.get("/")).text
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]* src=)|<script[^>]*>[^<]", text)
    linked = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert linked
    for path in linked:
        assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_names_another_host_or_makes_markup_of_text(path: Path) -> None:
    text = (
        path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "").replace("http://127.0.0.1:8000", "")
    )
    assert not re.search(r"https?://|(?<!:)//[a-z0-9-]+\.[a-z]", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc", text
    )


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_module_that_is_imported_is_there(path: Path) -> None:
    for name in re.findall(r'from "(\./[^"]+)"', path.read_text("utf-8")):
        assert (path.parent / name).is_file(), name


def test_the_wheel_has_all_of_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert {f"envoy_tap/console/static/{name}" for name in NAMES} <= held


def test_the_command_says_where_the_page_is_or_why_it_is_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    assert console(admin=f"127.0.0.1:{port}") == 2
    assert "start it with envoy-tap serve" in capsys.readouterr().err
    assert console(admin="unix:/run/tap.sock") == 2
    assert "no browser reaches unix:/run/tap.sock" in capsys.readouterr().err


async def test_the_command_prints_the_address_of_a_service_that_is_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    views = AdminViews(lambda: Readiness(ready=True), bytes, dict)
    server = AdminServer(Address("127.0.0.1", 0), admin_app(views, pages.routes()))
    bound = await server.start()
    try:
        assert await asyncio.to_thread(console, admin=str(bound)) == 0
        assert capsys.readouterr().out == f"http://{bound}/\n"
    finally:
        await server.stop()
