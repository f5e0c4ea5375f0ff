"""Several processes for one service: spawned, watched, replaced when they die, shown as one to the operator."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from envoy_sidecar.admin import AdminServer, AdminViews, Readiness, admin_app
from envoy_sidecar.settings import ServerSettings
from envoy_sidecar.transport.address import Address

LOG = logging.getLogger(__name__)

WORKER_VARIABLE = "ENVOY_SIDECAR_WORKER"
"""Set in a worker's environment: `NUMBER:ADMIN_SOCKET_PATH`."""

_RESTART_DELAY_S = 0.5
_EXIT_MARGIN_S = 5.0
_ASK_TIMEOUT_S = 2.0


def worker_from_environment() -> tuple[int, Address] | None:
    """Return this worker's number and private admin address; None in a process that is no worker."""
    text = os.environ.get(WORKER_VARIABLE)
    if text is None:
        return None
    number, _, path = text.partition(":")
    return int(number), Address(path=path)


class Supervisor:
    """Keeps N copies of this very command running, and serves one admin address for all of them."""

    def __init__(self, name: str, settings: ServerSettings) -> None:
        self._name = name
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="envoy-sidecar-workers-")
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._deaths = 0
        self._stop = asyncio.Event()
        views = AdminViews(self._readiness, self._prometheus, self._config)
        self._admin = AdminServer(Address.parse(settings.admin), admin_app(views))

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, pass it on, wait for the drain; return 0, or 1 if a worker had to be killed."""
        loop = asyncio.get_running_loop()
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop_signal, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._signal_all, signal.SIGHUP)
        admin = await self._admin.start()
        LOG.info("%s: %d workers, admin of all on http://%s", self._name, self._settings.workers, admin)
        keepers = [asyncio.create_task(self._keep(number)) for number in range(self._settings.workers)]
        await self._stop.wait()
        self._signal_all(signal.SIGTERM)
        bound_s = self._settings.drain_delay + self._settings.drain_time + _EXIT_MARGIN_S
        _, late = await asyncio.wait(keepers, timeout=bound_s)
        if late:
            LOG.error("%d workers did not stop in %g s and are killed", len(late), bound_s)
            self._signal_all(signal.SIGKILL)
            await asyncio.wait(late)
        await self._admin.stop()
        self._folder.cleanup()
        return 1 if late else 0

    async def _keep(self, number: int) -> None:
        while not self._stop.is_set():
            environment = {**os.environ, WORKER_VARIABLE: f"{number}:{self._socket(number)}"}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"envoy_{self._name}", *sys.argv[1:], env=environment
            )
            self._processes[number] = process
            if self._stop.is_set():
                process.send_signal(signal.SIGTERM)
            code = await process.wait()
            if self._stop.is_set():
                return
            self._deaths += 1
            LOG.error("worker %d (pid %d) died with exit code %d; it is replaced", number, process.pid, code)
            await asyncio.sleep(_RESTART_DELAY_S)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)

    def _socket(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.sock"

    def _ask(self, number: int, path: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._socket(number)))) as client:
            return client.get(f"http://worker{path}", timeout=_ASK_TIMEOUT_S)

    def _readiness(self) -> Readiness:
        ready, details = True, []
        for number in range(self._settings.workers):
            try:
                answer = self._ask(number, "/readyz")
            except httpx.HTTPError as error:
                ready = False
                details.append(f"worker {number}: does not answer: {error}")
            else:
                ready = ready and answer.is_success
                details.extend(f"worker {number}: {line}" for line in answer.text.splitlines())
        return Readiness(ready, tuple(details))

    def _config(self) -> Mapping[str, object]:
        try:
            worker: object = self._ask(0, "/config").json()
        except httpx.HTTPError as error:
            worker = f"worker 0 does not answer: {error}"
        return {"workers": self._settings.workers, "worker": worker}

    def _prometheus(self) -> bytes:
        texts: dict[str, str] = {}
        for number in range(self._settings.workers):
            try:
                texts[str(number)] = self._ask(number, "/metrics").text
            except httpx.HTTPError as error:
                LOG.warning("worker %d: no metrics: %s", number, error)
        registry = CollectorRegistry()
        registry.register(_Merged(texts, self._deaths))
        return generate_latest(registry)


class _Merged:
    """A Prometheus collector that gives every worker's samples with a `worker` label, and the count of deaths."""

    def __init__(self, texts: Mapping[str, str], deaths: int) -> None:
        self._texts = texts
        self._deaths = deaths

    def collect(self) -> list[Metric]:
        merged: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                target = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    target.samples.append(sample._replace(labels={**sample.labels, "worker": worker}))
        deaths = CounterMetricFamily(
            "worker_deaths", "Workers that died and were replaced", value=self._deaths
        )
        return [*merged.values(), deaths]
