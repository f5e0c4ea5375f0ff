"""The three services as real processes on free ports, as an operator starts them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envoy_demo.client import answers_ok
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Process, Processes


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: the loopback ports that Envoy calls and that serves /readyz and /metrics."""

    process: Process
    port: int
    admin_port: int

    def wait_ready(self) -> None:
        """Return once /readyz answers 200; raises ProcessFailedError with its log if it does not."""
        self.process.until(lambda: answers_ok(self.admin_port, "/readyz"), "readiness")


def start_authz(processes: Processes, policies: Path, options: Sequence[str] = (), port: int = 0) -> Service:
    """Start authz with the policies of a file or folder; *options* are more of its command line."""
    return _start(processes, "authz", ["--policies", str(policies), *options], port)


def start_ratelimit(
    processes: Processes, config: Path, store: str = "memory:", options: Sequence[str] = (), port: int = 0
) -> Service:
    """Start ratelimit with the limits of a file or folder, on a store; *options* are more of its command line."""
    return _start(processes, "ratelimit", ["--config", str(config), "--store", store, *options], port)


def start_tap(processes: Processes, data: Path, options: Sequence[str] = (), port: int = 0) -> Service:
    """Start tap, which writes to the folder *data*; *options* are more of its command line, such as the target."""
    return _start(processes, "tap", ["--data", str(data), *options], port)


def _start(processes: Processes, name: str, options: Sequence[str], port: int) -> Service:
    """Start a service, not ready yet; *port* is given to one that takes the place of another, 0 is a free one.

    Where *options* say `--listen` themselves, for a Unix socket, the port is one that nobody listens on.
    """
    port, admin_port = port or free_port(), free_port()
    listen = () if "--listen" in options else ("--listen", f"{LOOPBACK}:{port}")
    admin = ("--admin", f"{LOOPBACK}:{admin_port}")
    argv = [sys.executable, "-m", f"envoy_{name}", "serve", *options, *listen, *admin]
    return Service(processes.start(name, argv), port, admin_port)
