"""Real programs as children: output in a log file, readiness by an event, and never one left running.

Three nets, each for what slips through the one before: `Processes.close` ends every child in order; a child that does
not go within its grace is killed with its whole process group, so are its own children; and if this process is killed
outright, the kernel kills the children (see launch.py).
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

_LAUNCH = str(Path(__file__).with_name("launch.py"))
_TICK_SECONDS = 0.02
_LOG_TAIL_LINES = 40
_T = TypeVar("_T")


class ProcessFailedError(Exception):
    """A program ended, or was not ready in time; the message holds the end of its log."""


class Process:
    """One running program, started in a process group of its own.

    *argv* is the program and its arguments; *log* receives its stdout and stderr; *env* is added to this process's
    environment. Start it from a thread that lives as long as the program should: the kernel ties it to that thread.
    """

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        command = [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *argv]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - an argument list, never a shell, from our own callers
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                start_new_session=True,
            )
        self._pidfd = os.pidfd_open(self._popen.pid)

    @property
    def pid(self) -> int:
        """The process id, which is also its process group's."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """What `stop` or `wait` found: the exit code, negative for a signal; None while it was not waited for."""
        return self._popen.returncode

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the program ends (for select and poll)."""
        return self._pidfd

    def ended(self, within_seconds: float = 0) -> bool:
        """Whether the program has ended, waiting at most *within_seconds* for that."""
        if self._popen.returncode is not None:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(max(within_seconds, 0) * 1000))

    def wait(self, timeout_seconds: float) -> int:
        """Return the exit code once the program has ended; ProcessFailedError if it has not in time."""
        if not self.ended(timeout_seconds):
            raise ProcessFailedError(f"{self.name} still runs after {timeout_seconds} s\n{self.log_tail()}")
        return self._reap()

    def until(self, probe: Callable[[], _T | None], what: str, timeout_seconds: float = 30) -> _T:
        """Return what *probe* gives as soon as it is not None.

        *what* is awaited, for the message of the ProcessFailedError that is raised when the program ends before that
        or *timeout_seconds* pass.
        """
        deadline = time.monotonic() + timeout_seconds
        while (value := probe()) is None:
            remaining_seconds = deadline - time.monotonic()
            if self.ended(min(_TICK_SECONDS, remaining_seconds)):
                message = f"{self.name} ended with {self._reap()} while waiting for {what}"
                raise ProcessFailedError(f"{message}\n{self.log_tail()}")
            if remaining_seconds <= 0:
                message = f"{self.name}: no {what} within {timeout_seconds} s"
                raise ProcessFailedError(f"{message}\n{self.log_tail()}")
        return value

    def until_logged(self, text: str, timeout_seconds: float = 30) -> None:
        """Return once *text* stands in the log; ProcessFailedError as with `until`."""
        self.until(lambda: True if text in self.log_text() else None, f"{text!r} in its log", timeout_seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to its children; nothing happens if it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def stop(self, grace_seconds: float = 10) -> int:
        """End the program and return its exit code: SIGTERM, and SIGKILL to its group after *grace_seconds*."""
        if self._popen.returncode is None:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)  # one that was stopped could not take SIGTERM
            self.ended(grace_seconds)
        return self._reap()

    def kill(self) -> int:
        """End the program and its whole group at once and return its exit code."""
        return self._reap()

    def log_text(self) -> str:
        """Return all that the program has written."""
        return self.log.read_text("utf-8", errors="replace")

    def log_tail(self) -> str:
        """Return the last lines that the program has written, under a heading."""
        lines = self.log_text().splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join([f"--- log of {self.name} ({self.log}) ---", *(lines or ["(nothing)"])])

    def _reap(self) -> int:
        if self._popen.returncode is None:
            # Until it is waited for, the leader keeps the group's id from being given to anybody else.
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
            os.close(self._pidfd)
        return self._popen.returncode


class Processes:
    """A context manager that starts programs, with a log file each in *folder*, and ends all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Process] = []

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
        """Start a program; *name* names its log file too, so a second one of that name gets a number."""
        same = sum(process.name.split("#")[0] == name for process in self.all)
        unique = f"{name}#{same + 1}" if same else name
        process = Process(unique, argv, self.folder / f"{unique}.log", env)
        self.all.append(process)
        return process

    def close(self, grace_seconds: float = 10) -> None:
        """End all programs, all at the same time; those that need longer than *grace_seconds* are killed."""
        try:
            for process in self.all:
                if process.exit_code is None:
                    process.signal(signal.SIGTERM)
                    process.signal(signal.SIGCONT)
            deadline = time.monotonic() + grace_seconds
            for process in self.all:
                process.ended(deadline - time.monotonic())
        finally:
            # An impatient second Ctrl-C arrives above: then everything goes at once.
            for process in self.all:
                process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
