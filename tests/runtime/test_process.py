"""One serving process from its start to its exit, as an operator sees it."""

import asyncio
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from envoy_demo.processes import Processes
from envoy_sidecar.transport.address import Address
from tests.runtime.programs import channel, exit_code, free_port, get, prefix, sample, start, try_get
from tests.runtime.serving import NOT_SERVING, SERVICE, SERVING, check, say, unary, watch

WAIT = f"/{SERVICE}/Wait"
TRANSPORTS = pytest.mark.parametrize("transport", ["native", "grpcio"])


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


async def test_admin_answers_before_the_service_is_ready(processes: Processes, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    admin = Address("127.0.0.1", free_port())
    program = start(processes, "--admin", str(admin), "--gate", str(gate))
    early = program.admin_before_serving(admin)
    assert (early.status_code, early.text) == (503, "not ready\nstarting\n")
    assert get(admin, "/livez").status_code == 200
    gate.touch()
    listen, bound = program.addresses()
    assert bound == admin
    assert (get(admin, "/readyz").status_code, get(admin, "/readyz").text) == (200, "ready\n")
    async with channel(listen) as to:
        assert await check(to) == SERVING
        assert await check(to, SERVICE) == SERVING


async def test_a_signal_during_the_start_ends_it(processes: Processes, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    admin = Address("127.0.0.1", free_port())
    program = start(processes, "--admin", str(admin), "--gate", str(gate))
    program.admin_before_serving(admin)
    program.process.signal(signal.SIGTERM)
    gate.touch()
    assert exit_code(program) == 0


async def test_it_does_not_serve_before_it_is_configured_and_a_signal_ends_it_until_then(
    processes: Processes, tmp_path: Path
) -> None:
    admin = Address("127.0.0.1", free_port())
    program = start(processes, "--admin", str(admin), "--config-gate", str(tmp_path / "gate"))
    early = program.admin_before_serving(admin)
    assert (early.status_code, early.text) == (503, "not ready\nstarting\n")
    program.process.signal(signal.SIGTERM)
    assert exit_code(program) == 0
    assert "the sidecar has stopped" in program.log
    assert "serves on" not in program.log


@TRANSPORTS
async def test_the_choice_of_the_transport_is_logged_once_with_its_reason(
    processes: Processes, transport: str
) -> None:
    program = start(processes, "--transport", transport)
    program.addresses()
    assert program.log.count("; transport ") == 1
    assert f"; transport {transport}: asked for" in program.log


@TRANSPORTS
async def test_sigterm_says_not_serving_first_and_finishes_what_is_in_flight(
    processes: Processes, tmp_path: Path, transport: str
) -> None:
    program = start(processes, "--transport", transport, "--drain-delay", "0.1")
    listen, admin = program.addresses()
    async with channel(listen) as to:
        statuses = watch(to)
        assert await anext(statuses) == SERVING
        call = asyncio.ensure_future(unary(to, WAIT)(str(tmp_path / "go").encode()))
        await asyncio.to_thread(program.process.until_logged, "waiting")
        program.process.signal(signal.SIGTERM)
        assert await anext(statuses) == NOT_SERVING
        await statuses.aclose()
        assert not call.done()
        draining = get(admin, "/readyz")
        assert (draining.status_code, draining.text) == (503, "not ready\ndraining\n")
        assert get(admin, "/livez").status_code == 200
        (tmp_path / "go").touch()
        assert await call == b"waited"
    assert await asyncio.to_thread(exit_code, program) == 0
    assert "the sidecar has stopped" in program.log
    assert "Traceback" not in program.log


@TRANSPORTS
async def test_no_call_fails_while_the_process_drains_under_load(
    processes: Processes, transport: str
) -> None:
    program = start(processes, "--transport", transport, "--drain-delay", "0.3")
    listen, _ = program.addresses()
    stopping, warm, answered = asyncio.Event(), asyncio.Event(), 0

    async def caller() -> None:
        nonlocal answered
        async with channel(listen) as to:
            while not stopping.is_set():
                await say(to, b"load")
                answered += 1
                if answered > 100:
                    warm.set()

    async def envoy() -> None:
        async with channel(listen) as to:
            async for status in watch(to):
                if status == NOT_SERVING:
                    stopping.set()
                    return

    async def operator() -> None:
        await warm.wait()
        program.process.signal(signal.SIGTERM)

    await asyncio.gather(envoy(), operator(), *(caller() for _ in range(4)))
    assert await asyncio.to_thread(exit_code, program) == 0


@TRANSPORTS
async def test_a_second_sigterm_changes_nothing_and_a_second_interrupt_gives_up_the_drain(
    processes: Processes, tmp_path: Path, transport: str
) -> None:
    program = start(processes, "--transport", transport, "--drain-time", "600")
    listen, _ = program.addresses()
    async with channel(listen) as to:
        call = asyncio.ensure_future(unary(to, WAIT)(str(tmp_path / "never").encode()))
        await asyncio.to_thread(program.process.until_logged, "waiting")
        program.process.signal(signal.SIGTERM)
        await asyncio.to_thread(program.process.until_logged, "draining")
        program.process.signal(signal.SIGTERM)
        program.process.signal(signal.SIGINT)
        assert not await asyncio.to_thread(program.process.ended, 0.3)
        program.process.signal(signal.SIGINT)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert await asyncio.to_thread(exit_code, program) == 0
    assert "interrupted again" in program.log
    assert "a handler has not returned" in program.log


async def test_sighup_reloads(processes: Processes) -> None:
    program = start(processes)
    listen, admin = program.addresses()
    assert await prefix(listen) == "hello"
    program.process.signal(signal.SIGHUP)
    program.process.until_logged("reload (SIGHUP): the prefix is hello")
    assert sample(admin, 'config_reloads_total{result="ok"}') == 1


async def test_a_changed_file_is_reloaded_and_named(processes: Processes) -> None:
    program = start(processes)
    listen, admin = program.addresses()
    program.write("prefix: bonjour\n")
    program.process.until_logged(f"reload (modified {program.config}): the prefix is bonjour")
    assert await prefix(listen) == "bonjour"
    assert get(admin, "/config").json()["prefix"] == "bonjour"


@pytest.mark.parametrize("broken", ["prefix: [", "other: 1\n", "prefix: crash\n"])
async def test_a_broken_reload_keeps_the_old_configuration_and_says_so(
    processes: Processes, broken: str
) -> None:
    program = start(processes)
    listen, admin = program.addresses()
    program.write(broken)
    program.process.until_logged("the old configuration serves on")
    assert await prefix(listen) == "hello"
    ready = get(admin, "/readyz")
    assert ready.status_code == 200
    assert "the newest configuration is refused" in ready.text
    where = "RuntimeError; the log says more" if "crash" in broken else f"{program.config}:1:"
    assert where in ready.text
    assert sample(admin, "config_broken") == 1
    assert sample(admin, 'config_reloads_total{result="error"}') == 1
    program.write("prefix: mended\n")
    program.process.until_logged("the prefix is mended")
    assert get(admin, "/readyz").text == "ready\n"
    assert sample(admin, "config_broken") == 0
    assert await prefix(listen) == "mended"


async def test_a_reload_that_took_a_part_says_what_holds(processes: Processes) -> None:
    program = start(processes)
    listen, admin = program.addresses()
    program.write("prefix: half\n")
    program.process.until_logged("partly taken, findings: 1; left out: the other half")
    assert await prefix(listen) == "half"
    assert get(admin, "/readyz").text == (
        "ready\nthe newest configuration is partly taken; left out: the other half:\n"
        "other:1:1: error: is not there\n"
    )
    assert "serves on" not in program.log.partition("reload (")[2]
    assert sample(admin, "config_broken") == 1
    assert sample(admin, 'config_reloads_total{result="partly"}') == 1
    program.write("prefix: whole\n")
    program.process.until_logged("the prefix is whole")
    assert get(admin, "/readyz").text == "ready\n"
    assert sample(admin, "config_broken") == 0


async def test_a_start_that_took_a_part_says_so_as_a_reload_does(processes: Processes) -> None:
    program = start(processes, text="prefix: half\n")
    _, admin = program.addresses()
    assert "start: partly taken, findings: 1; left out: the other half" in program.log
    assert get(admin, "/readyz").text.startswith("ready\nthe newest configuration is partly taken; left out:")
    assert sample(admin, "config_broken") == 1
    program.write("prefix: whole\n")
    program.process.until_logged("the prefix is whole")
    assert get(admin, "/readyz").text == "ready\n"
    assert sample(admin, "config_broken") == 0


async def test_the_counters_of_the_process_and_of_the_service_are_scraped(processes: Processes) -> None:
    program = start(processes)
    listen, admin = program.addresses()
    await prefix(listen)
    assert sample(admin, f'grpc_server_calls_total{{code="OK",method="{SERVICE}/Say"}}') == 1
    assert sample(admin, "echo_said_total") == 1
    assert sample(admin, "health_serving") == 1
    assert "secret" not in get(admin, "/config").text


@TRANSPORTS
@pytest.mark.parametrize("option", ["--listen", "--admin"])
def test_a_taken_port_exits_2_with_clear_words(processes: Processes, option: str, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        program = start(processes, option, taken, "--transport", transport)
        assert exit_code(program) == 2
    last = program.log.splitlines()[-1]
    assert last.startswith("envoy-echo: ")
    assert f"{option} {taken}: another server listens there; stop it, or give another address" in last
    assert "Traceback" not in program.log


def test_a_configuration_that_is_broken_at_the_start_exits_2_with_its_findings(
    processes: Processes,
) -> None:
    program = start(processes, text="other: 1\n")
    assert exit_code(program) == 2
    assert f"{program.config}:1:1: error: prefix is missing; write prefix: hello" in program.log
    assert program.log.splitlines()[-1] == "envoy-echo: not started, findings: 1"
    assert "Traceback" not in program.log


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Give a folder whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="echo-") as folder:
        yield Path(folder)


def test_a_process_that_ends_leaves_no_folder_and_no_socket(
    processes: Processes, tmp_path: Path, scratch: Path
) -> None:
    path = tmp_path / "echo.sock"
    options = ("--listen", f"unix:{path}", "--admin", f"unix:{tmp_path / 'admin.sock'}")
    program = start(processes, *options, env={"TMPDIR": str(scratch)})
    program.addresses()
    assert path.is_socket()
    assert list(scratch.iterdir())
    assert program.process.stop() == 0
    assert not list(scratch.iterdir())
    assert not path.exists()
    assert not (tmp_path / "admin.sock").exists()
    again = start(processes, *options)
    again.addresses()
    assert again.process.stop() == 0


def test_a_process_that_was_killed_leaves_a_socket_that_the_next_one_takes(
    processes: Processes, tmp_path: Path
) -> None:
    options = ("--listen", f"unix:{tmp_path / 'echo.sock'}")
    first = start(processes, *options)
    first.addresses()
    first.process.signal(signal.SIGKILL)
    first.process.wait(20)
    second = start(processes, *options)
    second.addresses()
    third = start(processes, *options)
    assert exit_code(third) == 2
    assert "another server listens there" in third.log


async def test_an_unreachable_collector_does_not_hold_the_exit(processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        program = start(processes, env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        listen, admin = program.addresses()
        await prefix(listen)
        assert try_get(admin, "/readyz") is not None
        assert await asyncio.to_thread(program.process.stop, 25) == 0
    assert "the OTLP collector did not take the last telemetry" in program.log
