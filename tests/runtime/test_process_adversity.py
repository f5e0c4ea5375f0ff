"""A serving process whose surroundings are not as they should be."""

import asyncio
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from envoy_demo.processes import Processes
from envoy_sidecar import lifecycle
from envoy_sidecar.config.watch import Change
from envoy_sidecar.transport import unix_socket
from envoy_sidecar.transport.address import Address
from tests.runtime.echo_service import EchoSettings, EchoSidecar
from tests.runtime.programs import Program, exit_code, free_port, get, prefix, sample, start
from tests.runtime.serving import until

TRANSPORTS = pytest.mark.parametrize("transport", ["native", "grpcio"])


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


async def test_a_change_while_the_configuration_is_loaded_is_seen(
    processes: Processes, tmp_path: Path
) -> None:
    gate = tmp_path / "loaded"
    program = start(processes, "--load-gate", str(gate))
    await asyncio.to_thread(program.process.until_logged, "loading")
    program.write("prefix: bonjour\n")
    gate.touch()
    listen, _ = program.addresses()
    await asyncio.to_thread(
        program.process.until_logged, "reload (changed during the start): the prefix is bonjour"
    )
    assert await prefix(listen) == "bonjour"


def test_an_unchanged_configuration_is_not_loaded_twice(processes: Processes) -> None:
    program = start(processes, "--log-level", "debug")
    program.addresses()
    program.process.signal(signal.SIGHUP)
    program.process.until_logged("reload (SIGHUP)")
    assert program.log.count("reload (") == 1


def test_sighup_before_the_start_is_done_does_not_end_it(processes: Processes, tmp_path: Path) -> None:
    gate = tmp_path / "loaded"
    program = start(processes, "--load-gate", str(gate))
    program.process.until_logged("loading")
    program.process.signal(signal.SIGHUP)
    gate.touch()
    program.addresses()
    assert program.process.stop() == 0


def test_a_reload_that_hangs_does_not_hold_the_exit(processes: Processes) -> None:
    program = start(processes, "--drain-time", "0")
    program.addresses()
    program.write("prefix: hang\n")
    program.process.until_logged("hanging")
    assert program.process.stop(15) == 0
    assert "a reload has not ended; it is left behind" in program.log


def test_a_file_name_that_is_not_utf_8_ends_no_watching(processes: Processes) -> None:
    program = start(processes)
    program.addresses()

    def touched() -> bool | None:
        (program.config.parent / os.fsdecode(b"bad\xff.yaml")).touch()
        return True if "no file events, looking every few seconds instead" in program.log else None

    program.process.until(touched, "the watcher's complaint")
    program.write("prefix: bonjour\n")
    program.process.until_logged("the prefix is bonjour")


async def test_an_end_of_the_watching_is_critical_and_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_changes(*_paths: Path, **_options: object) -> AsyncIterator[Change]:
        raise RuntimeError("a fault of ours")
        yield

    monkeypatch.setattr(lifecycle, "changes", no_changes)
    config = tmp_path / "echo.yaml"
    config.write_text("prefix: hello\n")
    settings = EchoSettings(config=config, drain_delay=0)
    process = lifecycle.Process(EchoSidecar(settings), settings)

    async def look(admin: Address) -> tuple[httpx.Response, float | None]:
        try:
            await until(lambda: "CRITICAL" in caplog.text)
            ready = await asyncio.to_thread(get, admin, "/readyz")
            return ready, await asyncio.to_thread(sample, admin, "config_broken")
        finally:
            process.stop()

    looking: list[asyncio.Task[tuple[httpx.Response, float | None]]] = []
    await process.run(lambda _listen, admin: looking.append(asyncio.create_task(look(admin))))
    ready, broken = await looking[0]
    assert ready.status_code == 200
    assert "changes of the configuration are no longer seen" in ready.text
    assert broken == 1


def test_concerns_are_lines_of_readyz(processes: Processes) -> None:
    program = start(processes, "--concern", "the keys are an hour old")
    _, admin = program.addresses()
    ready = get(admin, "/readyz")
    assert (ready.status_code, ready.text) == (200, "ready\nthe keys are an hour old\n")


def test_a_finding_in_a_file_whose_name_is_not_utf_8_is_shown(processes: Processes) -> None:
    program = start(processes, "--concern", os.fsdecode(b"bad\xff.yaml"))
    _, admin = program.addresses()
    assert get(admin, "/readyz").text == "ready\nbad\\udcff.yaml\n"
    assert get(admin, "/config").status_code == 200


@TRANSPORTS
@pytest.mark.parametrize(("options", "mode"), [((), 0o660), (("--socket-mode", "666"), 0o666)])
def test_a_unix_socket_has_the_mode_that_was_asked_for_and_the_admin_one_is_private(
    processes: Processes, tmp_path: Path, transport: str, options: tuple[str, ...], mode: int
) -> None:
    listen, admin = tmp_path / "echo.sock", tmp_path / "admin.sock"
    addresses = ("--listen", f"unix:{listen}", "--admin", f"unix:{admin}", "--transport", transport)
    start(processes, *addresses, *options).addresses()
    assert stat.S_IMODE(listen.stat().st_mode) == mode
    assert stat.S_IMODE(admin.stat().st_mode) == 0o600


def test_a_socket_is_never_open_wider_than_asked_not_even_for_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "private.sock"
    before = os.umask(0)
    try:
        with socket.socket(socket.AF_UNIX) as listener, unix_socket.created_with(str(path), 0o600):
            listener.bind(str(path))
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.umask(0) == 0
    finally:
        os.umask(before)


@pytest.mark.parametrize("options", [("--transport", "native"), ("--workers", "2")])
def test_without_a_writable_temporary_folder_it_says_what_would_help(
    processes: Processes, options: tuple[str, ...]
) -> None:
    code = "import sys, tempfile; tempfile.tempdir = '/proc/none'; from tests.runtime.echo_service import app, cli; cli.run(app)"
    config = processes.folder / "echo.yaml"
    config.write_text("prefix: hello\n")
    listen = ("--listen", f"127.0.0.1:{free_port()}")
    command = [sys.executable, "-c", code, "serve", "--config", str(config), *listen, *options]
    program = Program(processes.start("echo", command, {}), config)
    assert exit_code(program) == 2
    assert "needs a writable temporary folder: set TMPDIR" in program.log
    assert "Traceback" not in program.log


def test_a_required_option_that_is_missing_is_named_with_its_variable(processes: Processes) -> None:
    command = [sys.executable, "-m", "tests.runtime.echo_service", "serve"]
    program = Program(processes.start("echo", command, {}), processes.folder)
    assert exit_code(program) == 2
    assert "--config (or ECHO_CONFIG) is required:" in " ".join(program.log.replace("│", " ").split())
