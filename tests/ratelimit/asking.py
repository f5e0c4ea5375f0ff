"""A ratelimit service as a process, and its admin server asked over HTTP."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_demo.services import Service


class Admin:
    """The admin server of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.listen = f"127.0.0.1:{service.port}"
        self.address = f"127.0.0.1:{service.admin_port}"
        self._client = httpx.Client(base_url=f"http://{self.address}", timeout=10)

    def get(self, path: str) -> httpx.Response:
        return self._client.get(path)

    def ask(self, domain: str, *descriptors: dict[str, str], **fields: object) -> httpx.Response:
        entries = [
            {"entries": [{"key": key, "value": value} for key, value in one.items()], **fields}
            for one in descriptors
        ]
        return self.post({"domain": domain, "descriptors": entries})

    def post(self, body: object) -> httpx.Response:
        if isinstance(body, bytes):
            return self._client.post("/json", content=body)
        return self._client.post("/json", json=body)

    def close(self) -> None:
        self._client.close()


@contextmanager
def ratelimit(folder: Path, *options: str) -> Iterator[Admin]:
    """Run a service with *options*, ready, with its logs in *folder*."""
    listen, admin = free_port(), free_port()
    addresses = ["--listen", f"{LOOPBACK}:{listen}", "--admin", f"{LOOPBACK}:{admin}"]
    with Processes(folder) as processes:
        argv = [sys.executable, "-m", "envoy_ratelimit", "serve", *options, *addresses]
        service = Service(processes.start("ratelimit", argv), listen, admin)
        service.wait_ready()
        asked = Admin(service)
        try:
            yield asked
        finally:
            asked.close()
