"""The echo service as a child process, with what tests ask of it."""

import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx

from envoy_demo.processes import Process, Processes
from envoy_sidecar.transport.address import Address
from tests.runtime.serving import say

_SERVES = re.compile(r"echo \S+ serves on (\S+), admin on (?:http://)?(\S+);")
_SUPERVISES = re.compile(r"echo: \d+ workers, admin of all on http://(\S+)")


@dataclass(frozen=True)
class Program:
    """A started echo service and its configuration file."""

    process: Process
    config: Path

    @property
    def log(self) -> str:
        return self.process.log_text()

    def addresses(self) -> tuple[Address, Address]:
        """Return the gRPC and the admin address as soon as the program serves."""
        found = self.process.until(lambda: _SERVES.search(self.log), "serving")
        return Address.parse(found[1]), Address.parse(found[2])

    def supervisor(self) -> Address:
        """Return the admin address of the supervisor as soon as all its workers are ready."""
        address = Address.parse(self.process.until(lambda: _SUPERVISES.search(self.log), "supervising")[1])
        self.process.until(lambda: get(address, "/readyz").is_success or None, "readiness of all workers")
        return address

    def admin_before_serving(self, address: Address) -> httpx.Response:
        return self.process.until(lambda: try_get(address, "/readyz"), "an answer of the admin server")

    def write(self, text: str) -> None:
        """Replace the configuration in one step."""
        new = self.config.with_name(".new")
        new.write_text(text)
        new.replace(self.config)


def get(admin: Address, path: str) -> httpx.Response:
    return httpx.get(f"http://{admin}{path}", timeout=20)


def try_get(admin: Address, path: str) -> httpx.Response | None:
    try:
        return get(admin, path)
    except httpx.ConnectError:
        return None


def sample(admin: Address, name: str) -> float | None:
    """Return the value of the metric sample that begins so, name and labels."""
    for line in get(admin, "/metrics").text.splitlines():
        if line.startswith(name):
            return float(line.rsplit(" ", 1)[1])
    return None


def start(
    processes: Processes,
    *options: str,
    env: Mapping[str, str] | None = None,
    text: str = "prefix: hello\n",
) -> Program:
    """Start the echo service with *options* and a configuration that says *text*."""
    folder = processes.folder / f"configuration-{len(processes.all)}"
    folder.mkdir()
    config = folder / "echo.yaml"
    config.write_text(text)
    command = [sys.executable, "-m", "tests.runtime.echo_service", "serve", "--config", str(config), *options]
    quick = {"ECHO_DRAIN_DELAY": "0"}
    return Program(processes.start("echo", command, {**quick, **(env or {})}), config)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def channel(address: Address) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(str(address))


async def prefix(address: Address) -> str:
    async with channel(address) as to:
        return (await say(to, b"x")).decode().split(":")[1]


def exit_code(program: Program) -> int:
    return program.process.wait(30)
