"""A real issuer over HTTPS on localhost, whose answers a test changes as it goes."""

import asyncio
import json
import ssl
from pathlib import Path

from tests.authz.tokens.certificates import server_tls


class Issuer:
    """Serves what `answers` holds, by path: (status, extra headers, body); counts requests, and may hold them back."""

    def __init__(self, folder: Path) -> None:
        self._server_tls, self.client_tls = server_tls(folder)
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.requests: list[str] = []
        self.bodies: list[str] = []
        self.headers: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def publish(self, jwks: str, *, path: str = "/jwks", headers: str = "") -> None:
        self.answers[path] = (200, headers, jwks)

    def publish_metadata(self, issuer: str, jwks_uri: str) -> None:
        document = json.dumps({"issuer": issuer, "jwks_uri": jwks_uri})
        self.answers["/.well-known/openid-configuration"] = (200, "", document)

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(
            self._serve, "localhost", self.port, ssl=tls or self._server_tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
            body = await reader.readexactly(int(length[0].split(":")[1])) if length else b""
            self.requests.append(path)
            self.bodies.append(body.decode())
            self.headers.append(head)
            self.arrived.set()
            await self.gate.wait()
            status, headers, answer = self.answers.get(path, (404, "", ""))
            writer.write(
                f"HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {len(answer.encode())}\r\n"
                f"{headers}\r\n{answer}".encode()
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
