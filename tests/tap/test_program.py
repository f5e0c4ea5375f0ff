"""The whole of it as an operator has it: the service, a stock Envoy, and the command line."""

import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from envoy_demo import captures, configs
from envoy_demo.client import Request, get, send
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_tap
from envoy_demo.upstream import Upstream, start_upstream

SECRETS = {
    "header": "h-s3cr3t-0001",
    "query": "q-s3cr3t-0002",
    "json": "j-s3cr3t-0003",
    "form": "f-s3cr3t-0004",
    "card": "4111-1111-1111-1111",
    "email": "planted@secret.example",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.cGxhbnRlZA",
}


@dataclass(frozen=True)
class Shop:
    """A tapped Envoy in front of an upstream, and its tap service."""

    envoy: Envoy
    tap: Service
    data: Path

    def cli(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        admin = ("--admin", f"127.0.0.1:{self.tap.admin_port}")
        argv = [sys.executable, "-m", "envoy_tap", *arguments, *admin]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        return done

    def start(self, *arguments: str) -> str:
        session_id = self.started(*arguments)
        self.is_armed(session_id)
        return session_id

    def started(self, *arguments: str) -> str:
        return self.cli("start", "--detach", "--reason", "a test", *arguments).stdout.strip()

    def is_armed(self, session_id: str = "") -> str:
        """Return the id of the session (any, if none is given) once each connected proxy has it."""

        def found() -> str | None:
            nodes = get(self.tap.admin_port, "/config").json()["nodes"]
            armed = [
                each
                for node in nodes
                for each in node["sessions"]
                if node["acked_version"] == node["sent_version"]
            ]
            return next((each for each in armed if session_id in {"", each}), None)

        return self.tap.process.until(found, "a proxy that captures")

    def shown(self, session_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.cli("show", session_id, "--format", "json").stdout)
        return shown

    def exchanges(self, session_id: str, at_least: int) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]] | None:
            stored = list(captures.exchanges(self.tap.admin_port, session_id))
            return stored if len(stored) >= at_least else None

        return self.tap.process.until(found, f"{at_least} exchanges")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as processes:
        yield processes


@pytest.fixture
def upstream(processes: Processes) -> Upstream:
    upstream = start_upstream(processes)
    upstream.wait_ready()
    return upstream


@pytest.fixture
def shop(processes: Processes, upstream: Upstream) -> Shop:
    data = processes.folder / "data"
    tap = start_tap(processes, data)
    tap.wait_ready()
    ports = {"upstream": [upstream.port], "envoy_tap": [tap.port]}
    envoy = start_envoy(processes, configs.on_ports(configs.load("tap.yaml"), ports))
    return Shop(envoy, tap, data)


def test_two_sessions_at_once_each_get_theirs_and_end(shop: Shop) -> None:
    orders = shop.start("path^=/orders", "--exchanges", "2")
    posts = shop.start("--method", "POST", "status=2xx and request.body*=tea")
    for method, path, body in [
        ("GET", "/orders/1", b""),
        ("POST", "/orders/2", b"tea"),
        ("POST", "/other", b"tea"),
        ("POST", "/other", b"coffee"),
        ("GET", "/other", b""),
    ]:
        assert send(shop.envoy.port, Request(method, path, body=body)).status == 200
    assert [each["request"]["path"] for each in shop.exchanges(orders, 2)] == ["/orders/1", "/orders/2"]
    assert [each["request"]["path"] for each in shop.exchanges(posts, 2)] == ["/orders/2", "/other"]
    assert shop.shown(orders)["state"] == "exhausted"
    found = shop.shown(posts)
    shop.tap.process.until(lambda: shop.shown(posts)["counts"].get("unmatched"), "what did not match")
    found = shop.shown(posts)
    assert (found["state"], found["counts"]["captured"], found["counts"]["seen"]) == ("active", 2, 3)
    assert found["who"].startswith("local")
    assert shop.exchanges(posts, 2)[0]["source"]["address"].startswith("127.0.0.1:")
    listed = shop.cli("list").stdout
    assert orders in listed
    assert posts in listed
    assert "stopped" in shop.cli("stop", posts).stdout
    shop.cli("delete", orders)
    assert captures.sessions(shop.tap.admin_port) == [posts]
    assert "no such session" in shop.cli("show", orders, code=1).stderr


def test_a_session_is_followed_live_until_it_is_used_up(shop: Shop) -> None:
    argv = [
        sys.executable,
        "-m",
        "envoy_tap",
        "start",
        "path^=/orders and first(1)",
        "--reason",
        "a test",
    ]
    admin = ("--admin", f"127.0.0.1:{shop.tap.admin_port}")
    with subprocess.Popen(
        [*argv, *admin], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        shop.is_armed()
        send(shop.envoy.port, Request("GET", "/orders/1?page=%1b2"))
        out, err = following.communicate(timeout=30)
    assert following.returncode == 0
    assert "GET 127.0.0.1" in out
    assert "/orders/1?page=%1b2 200" in out
    assert "exhausted: 1/1 exchanges" in err


def test_what_cannot_be_read_is_said_where_it_was_typed(shop: Shop) -> None:
    said = shop.cli("start", "path=orders", "--reason", "x", code=2).stderr
    assert "'orders' is not a path; one begins with /\n  path=orders\n       ^^^^^^\n" in said
    assert "a reason" in shop.cli("start", "--reason", " ", "--detach", code=1).stderr
    assert "limits.bytes" in shop.cli("start", "--reason", "x", "--bytes", "0", code=1).stderr
    assert "id of a session" in shop.cli("show", "../../etc", code=2).stderr


def test_a_killed_service_takes_its_sessions_up_again_and_expired_ones_not(
    processes: Processes, shop: Shop
) -> None:
    lasting = shop.start("path^=/orders", "--for", "10m")
    short = shop.started("all", "--for", "1s")
    send(shop.envoy.port, Request("GET", "/orders/1"))
    shop.exchanges(lasting, 1)
    shop.tap.process.until(lambda: shop.shown(lasting)["counts"].get("captured"), "a capture")
    shop.tap.process.signal(signal.SIGKILL)
    shop.tap.process.wait(30)
    again = replace(shop, tap=start_tap(processes, shop.data, port=shop.tap.port))
    again.tap.wait_ready()
    assert again.shown(lasting)["state"] == "active"
    again.tap.process.until(lambda: again.shown(short)["state"] == "expired" or None, "expiry")

    def captured() -> bool | None:
        send(shop.envoy.port, Request("GET", "/orders/again"))
        return any(captures.exchanges(again.tap.admin_port, lasting, "path=/orders/again")) or None

    again.tap.process.until(captured, "a capture after the crash", 60)
    assert again.exchanges(lasting, 2)[0]["request"]["path"] == "/orders/1", "it was acknowledged"


def test_planted_secrets_are_nowhere(processes: Processes, shop: Shop) -> None:
    wire = Wire(processes.folder / "wire", shop.tap.port)
    with wire, Silent() as upstream:
        config = configs.on_ports(
            configs.load("tap.yaml"), {"upstream": [upstream], "envoy_tap": [wire.port]}
        )
        config["node"]["id"] = "edge-2"
        shop = replace(shop, envoy=start_envoy(processes, config))
        session = shop.start("path^=/")
        plain = {"content-type": "text/plain"}
        for path, headers, body in [
            (f"/a?token={SECRETS['query']}&x=1", {"authorization": SECRETS["header"]}, b""),
            (
                "/b",
                {"content-type": "application/json"},
                json.dumps({"a": {"password": SECRETS["json"]}}).encode(),
            ),
            (
                "/c",
                {"content-type": "application/x-www-form-urlencoded"},
                f"secret={SECRETS['form']}".encode(),
            ),
            ("/d", plain, f"{SECRETS['card']}, {SECRETS['email']}; {SECRETS['jwt']}".encode()),
            ("/e", {"x-note": f"{SECRETS['card']} {SECRETS['email']} {SECRETS['jwt']}"}, b""),
        ]:
            assert send(shop.envoy.port, Request("POST", path, headers, body)).status == 200
        shown = json.dumps(shop.exchanges(session, 5)).encode()
    crossed = wire.recorded.read_bytes()
    assert b"POST" in crossed, "the wire was recorded"
    places = [
        path for path in processes.folder.rglob("*") if path.is_file() and path.parent.name != "upstream"
    ]
    for name, secret in SECRETS.items():
        holding = [str(path) for path in places if secret.encode() in path.read_bytes()]
        assert holding == [], name
        assert secret.encode() not in shown, name
    assert b"[redacted]" in crossed


class Silent(socketserver.ThreadingTCPServer):
    """An upstream that says nothing of what it was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pong)

    def __enter__(self) -> int:  # type: ignore[override]
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return int(self.server_address[1])

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Pong(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline().strip().lower()) != b"":
            length = int(line.partition(b":")[2]) if line.startswith(b"content-length") else length
        self.rfile.read(length)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\npong")


class Wire:
    """A wire to the tap service whose bytes are recorded, both ways."""

    def __init__(self, recorded: Path, to: int) -> None:
        self.recorded = recorded
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._file = recorded.open("wb", buffering=0)

    def __enter__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        for each in (self._server, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._file.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += (near, far)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while data := source.recv(65536):
                self._file.write(data)
                sink.sendall(data)
