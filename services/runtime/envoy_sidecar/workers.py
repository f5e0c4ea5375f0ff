"""Several processes for one service: spawned, watched, replaced when they die, and ended with their supervisor."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.routing import BaseRoute

from envoy_sidecar.admin import AdminServer, AdminViews, admin_app
from envoy_sidecar.settings import ServerSettings
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.claim import claim
from envoy_sidecar.transport.port import ListenError
from envoy_sidecar.worker_views import WorkerViews

LOG = logging.getLogger(__name__)

WORKER_VARIABLE = "ENVOY_SIDECAR_WORKER"
"""Set in a worker's environment: `NUMBER:ADMIN_SOCKET_PATH`."""

WorkerRoutes = Callable[[WorkerViews], Sequence[BaseRoute]]
"""What makes a service's own routes of an admin server that has workers."""

_EXIT_REFUSED = 2
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_STEADY_S = 60.0
_EXIT_MARGIN_S = 5.0
_STDIN = 0


def worker_from_environment() -> tuple[int, Address] | None:
    """Return this worker's number and private admin address; None in a process that is no worker."""
    text = os.environ.get(WORKER_VARIABLE)
    if text is None:
        return None
    number, _, path = text.partition(":")
    return int(number), Address(path=path)


def stop_with_supervisor(stop: Callable[[], None]) -> None:
    """Call *stop* when the supervisor is gone, however it went; to be called on the event loop of a worker.

    The supervisor holds the other end of the worker's stdin and never writes to it, so it ends with the supervisor.
    """
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        if not os.read(_STDIN, 1):
            loop.remove_reader(_STDIN)
            LOG.warning("the supervisor is gone")
            stop()

    loop.add_reader(_STDIN, on_end)


class Supervisor:
    """Keeps N copies of this very command running, and serves one admin address for all of them.

    *routes* gives the service's own routes there, which ask the workers.
    """

    def __init__(
        self, name: str, settings: ServerSettings, routes: WorkerRoutes = lambda _workers: ()
    ) -> None:
        self._name = name
        self._settings = settings
        self._routes = routes
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._deaths = 0
        self._refused = False
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, pass it on, wait for the drain.

        Return 0; 1 if a worker had to be killed; 2 if a worker refused to start for the reason that it logged. Raises
        ListenError when an address is taken.
        """
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as closing:
            try:
                folder = Path(
                    closing.enter_context(tempfile.TemporaryDirectory(prefix="envoy-sidecar-workers-"))
                )
            except OSError:
                raise ListenError("--workers needs a writable temporary folder: set TMPDIR") from None
            lifeline, held = os.pipe()
            closing.callback(os.close, lifeline)
            closing.callback(os.close, held)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop.set)
                closing.callback(loop.remove_signal_handler, number)
            closing.callback(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
            loop.add_signal_handler(signal.SIGHUP, self._reload_all, folder)
            closing.callback(loop.remove_signal_handler, signal.SIGHUP)
            self._claim_addresses()
            return await self._supervise(folder, lifeline)

    async def _supervise(self, folder: Path, lifeline: int) -> int:
        count = self._settings.workers
        sockets = [_socket(folder, number) for number in range(count)]
        shown = WorkerViews(sockets, lambda: self._deaths)
        views = AdminViews(shown.readiness, shown.prometheus, shown.config)
        server = AdminServer(self._settings.admin_address, admin_app(views, self._routes(shown)))
        admin = await server.start()
        LOG.info("%s: %d workers, admin of all on http://%s", self._name, count, admin)
        keepers = [asyncio.create_task(self._keep(number, folder, lifeline)) for number in range(count)]
        try:
            await self._stop.wait()
            killed = await self._end(keepers)
        finally:
            await server.stop()
        if self._refused:
            return _EXIT_REFUSED
        return 1 if killed else 0

    async def _end(self, keepers: list[asyncio.Task[None]]) -> bool:
        self._signal_all(signal.SIGTERM)
        bound_s = self._settings.drain_delay + self._settings.drain_time + _EXIT_MARGIN_S
        _, late = await asyncio.wait(keepers, timeout=bound_s)
        if late:
            LOG.error("%d workers did not stop in %g s and are killed", len(late), bound_s)
            self._signal_all(signal.SIGKILL)
            await asyncio.wait(late)
        return bool(late)

    async def _keep(self, number: int, folder: Path, lifeline: int) -> None:
        delay_s = _FIRST_DELAY_S
        first = True
        while not self._stop.is_set():
            started_s = time.monotonic()
            try:
                code, pid = await self._run_once(number, folder, lifeline)
            except OSError as error:  # no memory, no descriptor, no process left: it may come back
                LOG.error("worker %d cannot be started: %s; tried again in %g s", number, error, delay_s)
                delay_s = await self._back_off(delay_s)
                continue
            if self._stop.is_set():
                return
            if first and code == _EXIT_REFUSED:
                LOG.error("worker %d refused to start; all are stopped", number)
                self._refused = True
                self._stop.set()
                return
            first = False
            self._deaths += 1
            if time.monotonic() - started_s > _STEADY_S:
                delay_s = _FIRST_DELAY_S
            LOG.error(
                "worker %d (pid %d) died with exit code %d; it is replaced in %g s",
                number,
                pid,
                code,
                delay_s,
            )
            delay_s = await self._back_off(delay_s)

    async def _back_off(self, delay_s: float) -> float:
        """Wait so long, or until the stop; return how long to wait the next time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), delay_s)
        return min(2 * delay_s, _LONGEST_DELAY_S)

    async def _run_once(self, number: int, folder: Path, lifeline: int) -> tuple[int, int]:
        admin = _socket(folder, number)
        admin.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *sys.orig_argv[1:],
            # What a worker that dies leaves behind goes with the supervisor's folder.
            env={**os.environ, WORKER_VARIABLE: f"{number}:{admin}", "TMPDIR": str(folder)},
            stdin=lifeline,
        )
        self._processes[number] = process
        if self._stop.is_set():
            self._signal(process, signal.SIGTERM)
        return await process.wait(), process.pid

    def _claim_addresses(self) -> None:
        for address in {self._settings.listen_address(number) for number in range(self._settings.workers)}:
            claim(address, "--listen")

    def _reload_all(self, folder: Path) -> None:
        for number, process in self._processes.items():
            # Before it handles signals SIGHUP would end it; it then reads the newest configuration anyway.
            if _socket(folder, number).exists():
                self._signal(process, signal.SIGHUP)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            self._signal(process, number)

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


def _socket(folder: Path, number: int) -> Path:
    return folder / f"{number}.sock"
