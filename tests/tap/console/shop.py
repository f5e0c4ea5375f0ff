"""A shop behind a tapped Envoy, with the tap service that operators look at: real programs on free ports."""

import hashlib
import json
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from envoy_demo import configs, services
from envoy_demo.client import Request, Response, send
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service

# Who is there, and in which role.
PEOPLE = {
    "viewer": ("vera", "viewer"),
    "operator": ("otto", "operator"),
    "approver": ("olga", "operator"),
    "admin": ("ada", "admin"),
}
TOKENS = {person: f"{person}-token-of-this-test" for person in PEOPLE}
# Each would say so, if it ever ran.
ALARM = "document.documentElement.dataset.hacked='1'"
HOSTILE = f'</script><script>{ALARM}</script><img src=x onerror="{ALARM}"><svg onload="{ALARM}">'


def png(width: int, height: int) -> bytes:
    """Return a picture: a PNG of one colour gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // width, 140, y * 255 // height)) for x in range(width))
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


ORDER = {
    "order": {
        "id": 9007199254740993,
        "customer": {"name": "Alice", "email": "alice@shop.example", "password": "hunter2"},
        "items": [
            {"sku": "tea-001", "name": "Darjeeling", "quantity": 2, "price": 12.50},
            {"sku": "cup-042", "name": "Cup, blue", "quantity": 1, "price": 7.90},
        ],
        "card": {"number": "4111-1111-1111-1111", "cvc": "123"},
        "express": True,
        "coupon": None,
    }
}
GRPC_FRAME = b"\0" + struct.pack(">I", 9) + b"\x0a\x05tea01\x10\x02"

ANSWERS: Mapping[str, tuple[int, Mapping[str, str], bytes]] = {
    "/orders": (
        201,
        {
            "content-type": "application/json",
            "set-cookie": "session=s3cr3t-cookie; HttpOnly",
            "x-shop": "blue",
        },
        json.dumps({"accepted": True, "token": "t-s3cr3t-0001", **ORDER}).encode(),
    ),
    "/cart": (200, {"content-type": "application/json"}, b'{"items": [], "total": 0}'),
    "/logo.png": (200, {"content-type": "image/png"}, png(240, 120)),
    "/refunds": (
        502,
        {"content-type": "application/json"},
        b'{"error": "payment provider did not answer", "retry": true}',
    ),
    "/page": (200, {"content-type": "text/html"}, f"<!doctype html><title>x</title>{HOSTILE}".encode()),
    "/drawing.svg": (
        200,
        {"content-type": "image/svg+xml"},
        f'<svg xmlns="http://www.w3.org/2000/svg"><script>{ALARM}</script></svg>'.encode(),
    ),
    "/lies.png": (200, {"content-type": "image/png"}, f"<svg><script>{ALARM}</script></svg>".encode()),
    "/broken.json": (
        200,
        {"content-type": "application/json", "x-note": HOSTILE},
        b'{"__proto__": {"polluted": true}, "a": "'
        + HOSTILE.encode().replace(b'"', b'\\"')
        + b'", "b": [1, 2',
    ),
    "/binary": (200, {"content-type": "application/octet-stream"}, bytes(range(256)) * 4),
    "/shop.Cart/Add": (200, {"content-type": "application/grpc", "grpc-status": "14"}, GRPC_FRAME),
}


class _Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # head and body in one packet

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, headers, body = ANSWERS.get(
            self.path.partition("?")[0], (404, {"content-type": "text/plain"}, b"no such page\n")
        )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@dataclass(frozen=True)
class Shop:
    """A tapped Envoy in front of a shop, and its tap service."""

    envoy: Envoy
    tap: Service
    upstream: str

    @property
    def console(self) -> str:
        return console_of(self.tap)

    def order(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request through the proxy."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(self.envoy.port, Request(method, path, named, body))

    def api(self, method: str, path: str, data: Any = None, role: str = "admin") -> Any:
        headers = {"authorization": f"Bearer {TOKENS[role]}", "content-type": "application/json"}
        body = b"" if data is None else json.dumps(data).encode()
        answer = send(self.tap.admin_port, Request(method, f"/api/v1{path}", headers, body))
        assert answer.status < 400, answer.text
        return answer.json() if answer.body else None

    def session(self, why: str, predicate: str = "all", **more: Any) -> str:
        """Start a session and return its id once the proxy captures for it."""
        found: str = self.api("POST", "/sessions", {"why": why, "predicate": predicate, **more})["id"]
        self.is_armed(found)
        return found

    def is_armed(self, session_id: str) -> None:
        def armed() -> bool | None:
            nodes = self.api("GET", "/nodes")["nodes"]
            return any(session_id in node["sessions"] and node["acked_version"] == node["sent_version"] for node in nodes) or None  # fmt: skip

        self.tap.process.until(armed, "a proxy that captures")

    def has(self, session_id: str, count: int) -> None:
        """Return once a session holds so many exchanges."""

        def found() -> bool | None:
            page = self.api("GET", f"/sessions/{session_id}/exchanges")
            return len(page["exchanges"]) >= count or None

        self.tap.process.until(found, f"{count} exchanges")


def tokens_file(folder: Path) -> Path:
    lines = []
    for person, token in TOKENS.items():
        name, role = PEOPLE[person]
        sha256 = hashlib.sha256(token.encode()).hexdigest()
        lines.append(f"- {{name: {name}, role: {role}, teams: [shop], sha256: {sha256}}}\n")
    path = folder / "tokens.yaml"
    path.write_text("".join(lines), "utf-8")
    return path


@contextmanager
def open_shop(folder: Path) -> Iterator[Shop]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with Processes(folder) as processes:
            tap = start_tap(processes, "--replay-to", f"http://127.0.0.1:{server.server_port}")
            ports = {"upstream": [server.server_port], "envoy_tap": [tap.port]}
            envoy = start_envoy(processes, configs.on_ports(configs.load("tap.yaml"), ports))
            yield Shop(envoy, tap, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def start_tap(processes: Processes, *options: str) -> Service:
    """Start the tap service with the tokens of this test and what is in `data`; it is ready."""
    folder = processes.folder
    tokens = ["--tokens", str(tokens_file(folder))]
    service = services.start_tap(processes, folder / "data", [*tokens, *options])
    service.wait_ready()
    return service


def console_of(tap: Service) -> str:
    """Return the address of the page."""
    return f"http://127.0.0.1:{tap.admin_port}/"
