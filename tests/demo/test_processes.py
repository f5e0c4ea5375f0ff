"""The harness ends what it started, whatever happens, and says why a program was not ready."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envoy_demo.processes import Process, Processes, ProcessFailedError

READY = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


def python(processes: Processes, code: str, name: str = "child") -> Process:
    return processes.start(name, [sys.executable, "-c", code])


def ready(processes: Processes, code: str = READY) -> Process:
    child = python(processes, code)
    child.until_logged("ready")
    return child


def ends(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(20_000))


def test_stop_ends_a_program_by_sigterm(processes: Processes) -> None:
    child = ready(processes)
    assert child.stop() == -signal.SIGTERM
    assert child.exit_code == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_stop_kills_a_program_that_does_not_go(processes: Processes) -> None:
    assert ready(processes, STUBBORN).stop(grace_seconds=0.1) == -signal.SIGKILL


def test_stop_ends_a_program_that_was_stopped_by_a_signal(processes: Processes) -> None:
    child = ready(processes)
    child.signal(signal.SIGSTOP)
    assert child.stop() == -signal.SIGTERM


def test_stop_takes_the_children_of_a_program_along(processes: Processes) -> None:
    code = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', {READY!r}]); print('child', child.pid, flush=True);"
        "time.sleep(600)"
    )
    child = ready(processes, code)
    grandchild = os.pidfd_open(int(child.log_text().partition("child ")[2].split()[0]))
    try:
        child.stop()
        assert ends(grandchild)
    finally:
        os.close(grandchild)


def test_leaving_the_context_ends_all_of_them_also_after_an_exception(tmp_path: Path) -> None:
    children: list[Process] = []

    def fail_with_children() -> None:
        with Processes(tmp_path) as processes:
            children.extend([ready(processes), ready(processes)])
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_with_children()
    assert [child.exit_code for child in children] == [-signal.SIGTERM] * 2


def test_children_die_with_a_parent_that_is_killed(processes: Processes) -> None:
    code = (
        "import sys, time; from pathlib import Path; from envoy_demo.processes import Processes;"
        f"processes = Processes(Path({str(processes.folder)!r}));"
        f"child = processes.start('orphan', [sys.executable, '-c', {STUBBORN!r}]); child.until_logged('ready');"
        "print('orphan', child.pid, 'ready', flush=True); time.sleep(600)"
    )
    parent = ready(processes, code)
    orphan = os.pidfd_open(int(parent.log_text().split()[1]))
    try:
        parent.signal(signal.SIGKILL)
        assert ends(orphan)
    finally:
        os.close(orphan)


def test_a_program_that_ends_before_it_is_ready_fails_with_its_own_words(processes: Processes) -> None:
    child = python(processes, "import sys; sys.exit('no such policy')")
    with pytest.raises(ProcessFailedError, match=r"(?s)ended with 1 while waiting for .*no such policy"):
        child.until_logged("ready")


def test_a_program_that_is_not_ready_in_time_fails_with_its_own_words(processes: Processes) -> None:
    child = ready(processes)
    with pytest.raises(ProcessFailedError, match=r"(?s)no such luck within 0.05 s.*ready"):
        child.until(lambda: None, "such luck", timeout_seconds=0.05)


def test_a_program_that_cannot_be_run_says_so(processes: Processes) -> None:
    child = processes.start("nothing", ["/nonexistent/program"])
    assert child.wait(20) == 127
    assert "cannot run /nonexistent/program" in child.log_text()


def test_waiting_for_a_program_that_goes_on_fails(processes: Processes) -> None:
    with pytest.raises(ProcessFailedError, match="still runs"):
        ready(processes).wait(0.05)


def test_programs_of_one_name_have_a_log_each(processes: Processes) -> None:
    first, second = python(processes, "print('one')"), python(processes, "print('two')")
    assert (first.wait(20), second.wait(20)) == (0, 0)
    assert (first.name, first.log_text()) == ("child", "one\n")
    assert (second.name, second.log_text()) == ("child#2", "two\n")


def test_an_ignored_sigpipe_is_not_inherited(processes: Processes) -> None:
    child = processes.start("status", ["/bin/grep", "SigIgn", "/proc/self/status"])
    assert child.wait(20) == 0
    assert int(child.log_text().split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0
