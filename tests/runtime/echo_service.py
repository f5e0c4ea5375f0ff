"""A sidecar of the tests that runs as a real process: `python -m tests.runtime.echo_service serve --config FILE`.

`Say` answers `PID:PREFIX:REQUEST`, the prefix being the `prefix` of the configuration; with `half` it is partly taken. `Wait` takes a path and answers
once that file is there. With `--gate`, the start waits for a file too; with `--config-gate`, what comes after it.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from envoy_sidecar import cli
from envoy_sidecar.config.documents import read_documents
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.settings import AdminOption, ListenOption, ServerSettings
from envoy_sidecar.sidecar import PartlyTaken
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Answer, Call, Service
from tests.runtime.serving import SERVICE

_TICK_S = 0.01

app = cli.make_app("echo", "What the runtime's tests run.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoSettings(ServerSettings):
    """The options of every service, and the configuration."""

    config: Path
    gate: Path | None = None
    config_gate: Path | None = None
    load_gate: Path | None = None
    concern: str = ""
    listen: ListenOption = "127.0.0.1:0"
    admin: AdminOption = "127.0.0.1:0"


class EchoSidecar:
    """A `Sidecar`."""

    name = "echo"

    def __init__(self, settings: EchoSettings) -> None:
        self._gate = settings.gate
        self._config_gate = settings.config_gate
        self.watched: Sequence[Path] = (settings.config,)
        self.said = Tally("echo.said", "Requests echoed")
        self.tallies: Sequence[Tally] = (self.said,)
        self.services: Sequence[Service] = (Service(SERVICE, {"Say": self._say, "Wait": self._wait}),)
        self._concern = settings.concern
        self._prefix = read_prefix(settings.config)
        if settings.load_gate is not None:
            print("loading", flush=True)  # noqa: T201
            while not settings.load_gate.exists():
                time.sleep(_TICK_S)

    def reload(self) -> str | PartlyTaken:
        self._prefix = read_prefix(self.watched[0])
        return self._partly() or f"the prefix is {self._prefix}"

    def describe(self) -> Mapping[str, object]:
        return {"prefix": self._prefix, "store": "redis://admin:secret@cache:6379/0"}

    def concerns(self) -> Sequence[str]:
        return [self._concern] if self._concern else []

    async def start(self) -> PartlyTaken | None:
        while self._gate is not None and not self._gate.exists():  # noqa: ASYNC110 -- a test makes it
            await asyncio.sleep(_TICK_S)
        return self._partly()

    async def until_configured(self) -> None:
        while self._config_gate is not None and not self._config_gate.exists():  # noqa: ASYNC110 -- a test makes it
            await asyncio.sleep(_TICK_S)

    async def drain(self) -> None:
        pass

    async def stop(self) -> None:
        print("the sidecar has stopped", flush=True)  # noqa: T201

    def _partly(self) -> PartlyTaken | None:
        if self._prefix != "half":
            return None
        return PartlyTaken("left out: the other half", [Finding(Position("other"), "is not there")])

    def _say(self, calls: Sequence[Call]) -> Sequence[Answer]:
        self.said.add(amount=len(calls))
        return [f"{os.getpid()}:{self._prefix}:".encode() + call.payload for call in calls]

    def _wait(self, calls: Sequence[Call]) -> Sequence[Answer]:
        print("waiting", flush=True)  # noqa: T201
        for call in calls:
            while not Path(call.payload.decode()).exists():
                time.sleep(_TICK_S)
        return [b"waited"] * len(calls)


def read_prefix(path: Path) -> str:
    """Return the configured prefix; `crash` raises what no service should."""
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidConfigurationError([Finding(Position(str(path)), str(error))]) from None
    (document,) = read_documents(text, str(path))
    prefix = document.get("prefix")
    if prefix is None or not isinstance(prefix.scalar, str):
        raise InvalidConfigurationError([document.finding("prefix is missing", "write prefix: hello")])
    if prefix.scalar == "hang":
        print("hanging", flush=True)  # noqa: T201
        time.sleep(600)
    if prefix.scalar == "crash":
        raise RuntimeError("asked to crash")
    return prefix.scalar


@app.command
def serve(settings: EchoSettings) -> int:
    """Echo."""
    return cli.serve("echo", settings, lambda: EchoSidecar(settings))


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)


if __name__ == "__main__":
    main()
