"""Several workers: all answer, a dead one is replaced and counted, and none outlives the supervisor."""

import asyncio
import os
import re
import select
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from envoy_demo.processes import Processes
from envoy_sidecar import workers as workers_module
from envoy_sidecar.settings import ServerSettings
from envoy_sidecar.transport.address import Address
from tests.runtime.programs import Program, get, sample, start
from tests.runtime.serving import SAY

READY = re.compile(r"echo \S+ serves on (\S+),")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


def pid_behind(path: Path) -> int:
    """Return the id of the worker that listens there."""
    with grpc.insecure_channel(f"unix:{path}") as channel:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SAY)
        answer: bytes = method(b"who", timeout=20, wait_for_ready=True)
    return int(answer.split(b":")[0])


def pids(folder: Path, count: int = 2) -> list[int]:
    return [pid_behind(folder / f"echo-{number}.sock") for number in range(count)]


def workers(processes: Processes, tmp_path: Path, scratch: Path, *options: str) -> Program:
    listen = f"unix:{tmp_path}/echo-{{worker}}.sock"
    return start(processes, "--workers", "2", "--listen", listen, *options, env={"TMPDIR": str(scratch)})


def ended(pid_descriptor: int) -> bool:
    poller = select.poll()
    poller.register(pid_descriptor, select.POLLIN)
    return bool(poller.poll(20_000))


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Give a folder whose name is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="echo-") as folder:
        yield Path(folder)


@pytest.fixture
def two(processes: Processes, tmp_path: Path, scratch: Path) -> tuple[Program, Address, list[int]]:
    program = workers(processes, tmp_path, scratch)
    return program, program.supervisor(), pids(tmp_path)


def test_every_worker_answers_and_the_supervisor_shows_them_as_one(
    two: tuple[Program, Address, list[int]],
) -> None:
    _, admin, ids = two
    assert len({*ids}) == 2
    assert get(admin, "/readyz").text == "ready\nworker 0: ready\nworker 1: ready\n"
    for worker in "01":
        labels = f'code="OK",method="test.Echo/Say",worker="{worker}"'
        assert sample(admin, f"grpc_server_calls_total{{{labels}}}") == 1
    assert sample(admin, "worker_deaths_total") == 0
    assert get(admin, "/config").json()["workers"] == 2
    assert get(admin, "/config").json()["worker"]["prefix"] == "hello"
    assert "secret" not in get(admin, "/config").text


def test_a_worker_that_was_killed_is_replaced_and_its_death_counted(
    two: tuple[Program, Address, list[int]], tmp_path: Path, scratch: Path
) -> None:
    program, admin, ids = two
    os.kill(ids[0], signal.SIGKILL)
    program.process.until_logged(f"worker 0 (pid {ids[0]}) died with exit code -9")
    program.process.until(
        lambda: True if len(READY.findall(program.log)) == 3 else None, "a third worker serving"
    )
    replaced, kept = pids(tmp_path)
    assert replaced != ids[0]
    assert kept == ids[1]
    assert sample(admin, "worker_deaths_total") == 1
    # What the dead one left is in the supervisor's folder, which goes when it ends.
    (folder,) = scratch.iterdir()
    assert len(list(folder.glob("envoy-sidecar-*"))) == 3
    program.process.until(lambda: get(admin, "/readyz").is_success or None, "readiness")
    assert program.process.stop() == 0
    assert not list(scratch.iterdir())


def test_sigterm_ends_all_and_leaves_no_orphan(
    two: tuple[Program, Address, list[int]], processes: Processes
) -> None:
    program, _, ids = two
    watched = [os.pidfd_open(pid) for pid in ids]
    program.process.signal(signal.SIGTERM)
    assert all(ended(descriptor) for descriptor in watched)
    assert program.process.wait(20) == 0
    assert program.log.count("the sidecar has stopped") == 2
    for descriptor in watched:
        os.close(descriptor)
    assert processes.all


def test_workers_end_when_their_supervisor_was_killed(two: tuple[Program, Address, list[int]]) -> None:
    program, _, ids = two
    watched = [os.pidfd_open(pid) for pid in ids]
    program.process.signal(signal.SIGKILL)
    assert all(ended(descriptor) for descriptor in watched)
    assert program.log.count("the supervisor is gone") == 2
    assert program.log.count("the sidecar has stopped") == 2
    for descriptor in watched:
        os.close(descriptor)


def test_sighup_reloads_every_worker(two: tuple[Program, Address, list[int]]) -> None:
    program, _, _ = two
    program.process.signal(signal.SIGHUP)
    program.process.until(lambda: True if program.log.count("reload (SIGHUP)") == 2 else None, "two reloads")


def test_workers_share_a_port_over_tcp(processes: Processes) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = start(processes, "--workers", "2", "--listen", f"127.0.0.1:{port}")
    program.supervisor()
    assert READY.findall(program.log) == [f"127.0.0.1:{port}"] * 2
    other = start(processes, "--workers", "2", "--listen", f"127.0.0.1:{port}")
    assert other.process.wait(30) == 2
    assert f"--listen 127.0.0.1:{port}: another server listens there; stop it" in other.log
    assert program.process.stop() == 0


def test_workers_that_refuse_to_start_end_the_supervisor_with_2(
    processes: Processes, tmp_path: Path, scratch: Path
) -> None:
    missing = tmp_path / "missing.pem"
    program = workers(processes, tmp_path, scratch, "--tls-cert", str(missing), "--tls-key", str(missing))
    assert program.process.wait(30) == 2
    assert "refused to start; all are stopped" in program.log
    assert "--tls-cert and --tls-key must be a PEM pair" in program.log
    assert "Traceback" not in program.log


def test_a_broken_configuration_ends_the_supervisor_before_any_worker(
    processes: Processes, tmp_path: Path
) -> None:
    program = start(
        processes, "--workers", "2", "--listen", f"unix:{tmp_path}/{{worker}}.sock", text="other: 1\n"
    )
    assert program.process.wait(30) == 2
    assert program.log.count("prefix is missing") == 1


async def test_a_worker_that_cannot_be_spawned_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    async def spawn(*_arguments: object, **_options: object) -> asyncio.subprocess.Process:
        nonlocal tries
        tries += 1
        if tries > 2:
            supervisor._stop.set()
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    monkeypatch.setattr(workers_module, "_FIRST_DELAY_S", 0.01)
    settings = ServerSettings(
        listen=f"unix:{tmp_path}/{{worker}}.sock", admin="127.0.0.1:0", workers=2, drain_delay=0, drain_time=0
    )
    supervisor = workers_module.Supervisor("echo", settings)
    assert await asyncio.wait_for(supervisor.run(), 20) == 0
    assert tries > 2
    assert (
        "cannot be started: [Errno 11] Resource temporarily unavailable; tried again in 0.01 s" in caplog.text
    )
