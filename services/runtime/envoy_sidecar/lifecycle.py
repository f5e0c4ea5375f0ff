"""The life of one serving process: start in order, reload, drain, exit."""

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping, Sequence

from starlette.routing import BaseRoute

from envoy_sidecar import __version__
from envoy_sidecar.admin import AdminServer, AdminViews, Readiness, admin_app
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.config.watch import changes
from envoy_sidecar.settings import ServerSettings
from envoy_sidecar.sidecar import Sidecar
from envoy_sidecar.telemetry.instrument import instrumented
from envoy_sidecar.telemetry.metrics import Metrics
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.telemetry.tracing import tracing_by_environment
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.choose import build, choose
from envoy_sidecar.transport.health import HealthBoard

LOG = logging.getLogger(__name__)


class Process:
    """Serves one sidecar: admin first (so that probes see the start), then the service, then health and readiness."""

    def __init__(
        self,
        sidecar: Sidecar,
        settings: ServerSettings,
        *,
        worker: int | None = None,
        admin: Address | None = None,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        """Prepare to serve; *worker* is the number of this process among several, which then listens on *admin*."""
        self._sidecar = sidecar
        self._settings = settings
        self._worker = worker
        self._health = HealthBoard(service.name for service in sidecar.services)
        self._metrics = Metrics(f"envoy-{sidecar.name}")
        self._tracing = tracing_by_environment(f"envoy-{sidecar.name}")
        self._calls = Tally("grpc.server.calls", "Unary calls answered", ("method", "code"))
        self._reloads = Tally("config.reloads", "Configuration loads by result", ("result",))
        self._broken: InvalidConfigurationError | None = None
        self._reload_lock = asyncio.Lock()
        self._stop = asyncio.Event()
        views = AdminViews(self._readiness, self._metrics.prometheus, self._config)
        self._admin = AdminServer(admin or Address.parse(settings.admin), admin_app(views, routes))

    async def run(self, on_ready: Callable[[Address, Address], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain.

        *on_ready* is called with the bound gRPC and admin addresses. Raises ListenError when an address is taken.
        """
        self._export_metrics()
        self._handle_signals()
        services = [instrumented(service, self._calls, self._tracing) for service in self._sidecar.services]
        choice = choose(self._settings.transport, services, self._settings.tls)
        transport = build(
            choice,
            self._settings.listen_address(self._worker or 0),
            services,
            self._health,
            tls=self._settings.tls,
            reuse_port=self._shares_port(),
        )
        admin = await self._admin.start()
        await self._sidecar.start()
        listen = await transport.start()
        watching = asyncio.create_task(self._watch())
        await self._health.set_serving(True)
        LOG.info(
            "%s %s serves on %s, admin on http://%s; transport %s: %s",
            *(self._sidecar.name, __version__, listen, admin, choice.name, choice.reason),
        )
        if on_ready is not None:
            on_ready(listen, admin)
        await self._stop.wait()
        await self._health.set_serving(False)
        LOG.info("draining: health says NOT_SERVING; calls in flight have %g s", self._settings.drain_time)
        await asyncio.sleep(self._settings.drain_delay)
        await transport.stop(self._settings.drain_time)
        watching.cancel()
        await self._sidecar.stop()
        await self._admin.stop()
        await asyncio.to_thread(self._shutdown_telemetry)
        LOG.info("stopped")

    def stop(self) -> None:
        """Begin to drain; what SIGTERM and SIGINT do."""
        self._stop.set()

    async def reload(self, why: str) -> None:
        """Read the configuration again; if it is broken the old one serves on, and log, metric and /readyz say so."""
        async with self._reload_lock:
            try:
                summary = await asyncio.to_thread(self._sidecar.reload)
            except InvalidConfigurationError as error:
                self._broken = error
                self._reloads.add(("error",))
                for finding in error.findings:
                    LOG.error("%s", finding)
                LOG.error(
                    "reload (%s): %d findings; the old configuration serves on", why, len(error.findings)
                )
            else:
                self._broken = None
                self._reloads.add(("ok",))
                LOG.info("reload (%s): %s", why, summary)

    async def _watch(self) -> None:
        if self._sidecar.watched:
            async for change in changes(self._sidecar.watched):
                await self.reload(str(change))

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        reloading: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            task = loop.create_task(self.reload("SIGHUP"))
            reloading.add(task)
            task.add_done_callback(reloading.discard)

        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop_signal, self.stop)
        loop.add_signal_handler(signal.SIGHUP, on_hangup)

    def _shares_port(self) -> bool:
        return self._worker is not None and self._settings.listen_address(0) == self._settings.listen_address(
            1
        )

    def _export_metrics(self) -> None:
        self._metrics.export([self._calls, self._reloads, *self._sidecar.tallies])
        self._metrics.gauge(
            "config.broken",
            "1 while the newest configuration is refused",
            lambda: float(self._broken is not None),
        )
        self._metrics.gauge(
            "health.serving", "1 while health says SERVING", lambda: float(self._health.serving)
        )

    def _readiness(self) -> Readiness:
        details: list[str] = []
        if self._broken is not None:
            details.append("the newest configuration is refused, the one before serves on:")
            details.extend(map(str, self._broken.findings))
        return Readiness(self._health.serving, tuple(details))

    def _config(self) -> Mapping[str, object]:
        settings = self._settings
        return {
            "service": self._sidecar.name,
            "version": __version__,
            "listen": str(settings.listen_address(self._worker or 0)),
            "transport": settings.transport,
            "tls": settings.tls is not None,
            **self._sidecar.describe(),
        }

    def _shutdown_telemetry(self) -> None:
        self._metrics.shutdown()
        if self._tracing is not None:
            self._tracing.shutdown()
