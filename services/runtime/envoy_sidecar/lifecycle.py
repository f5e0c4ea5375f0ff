"""The life of one serving process: start in order, reload, drain, exit."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from starlette.routing import BaseRoute

from envoy_sidecar import __version__
from envoy_sidecar.admin import AdminServer, AdminViews, Readiness, admin_app
from envoy_sidecar.background import in_background
from envoy_sidecar.collector import held
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError
from envoy_sidecar.config.watch import changes, fingerprint, touched_since
from envoy_sidecar.settings import ServerSettings
from envoy_sidecar.sidecar import PartlyTaken, Sidecar
from envoy_sidecar.telemetry.instrument import instrumented
from envoy_sidecar.telemetry.metrics import Metrics
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.telemetry.tracing import tracing_by_environment
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.choose import Choice, build, choose
from envoy_sidecar.transport.claim import claim
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import Transport

LOG = logging.getLogger(__name__)

_FLUSH_S = 3.0
_RELOAD_MARGIN_S = 2.0


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
        started_ns: int | None = None,
    ) -> None:
        """Prepare to serve; *worker* is the number of this process among several, which then listens on *admin*.

        *started_ns* is the Unix time from before the sidecar read its configuration: what changed since is read again.
        """
        self._sidecar = sidecar
        self._settings = settings
        self._worker = worker
        # A change after this fingerprint differs from it; one before it, while the sidecar read, is told by its time.
        self._known = fingerprint(sidecar.watched)
        self._is_stale = started_ns is not None and touched_since(sidecar.watched, started_ns)
        self._choice: Choice = choose(settings.transport, sidecar.services, settings.tls)
        self._health = HealthBoard(service.name for service in sidecar.services)
        self._metrics = Metrics(f"envoy-{sidecar.name}")
        self._tracing = tracing_by_environment(f"envoy-{sidecar.name}")
        self._calls = Tally("grpc.server.calls", "Unary calls answered", ("method", "code"))
        self._reloads = Tally("config.reloads", "Configuration loads by result", ("result",))
        self._broken: tuple[str, ...] = ()
        self._unwatched = ""
        self._reload_lock = asyncio.Lock()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._interrupts = 0
        views = AdminViews(self._readiness, self._metrics.prometheus, self._config)
        self._admin = AdminServer(admin or settings.admin_address, admin_app(views, routes))

    async def run(self, on_ready: Callable[[Address, Address], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second SIGINT ends the drain at once.

        *on_ready* is called with the bound gRPC and admin addresses. Raises ListenError when an address is taken.
        """
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._shutdown_telemetry)
            self._export_metrics()
            self._handle_signals(closing)
            if not self._shares_port:
                # The transports find out as well, but in words of their libraries.
                claim(self._settings.listen_address(self._worker or 0), "--listen")
            transport = self._transport()
            admin = await self._admin.start()
            closing.push_async_callback(self._admin.stop)
            taken = await self._sidecar.start()
            closing.push_async_callback(self._sidecar.stop)
            if taken is not None:
                self._take_partly("start", taken)
            if await self._is_configured():
                await self._serve(closing, transport, admin, on_ready)
        LOG.info("stopped")

    async def _is_configured(self) -> bool:
        """Wait for a configuration to serve by; return False if it is to stop before one is there."""
        waiting = asyncio.create_task(self._sidecar.until_configured())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if waiting.done():
            waiting.result()
            return True
        waiting.cancel()
        await asyncio.wait((waiting,))
        return False

    async def _serve(
        self,
        closing: AsyncExitStack,
        transport: Transport,
        admin: Address,
        on_ready: Callable[[Address, Address], None] | None,
    ) -> None:
        listen = await transport.start()
        closing.push_async_callback(transport.stop, 0.0)
        watching = asyncio.create_task(self._watch())
        watching.add_done_callback(self._on_watch_end)
        closing.push_async_callback(self._stop_watching, watching)
        await self._health.set_serving(True)
        LOG.info(
            "%s %s serves on %s, admin on %s; transport %s: %s",
            *(self._sidecar.name, __version__, listen, admin.url, *self._choice),
        )
        if on_ready is not None:
            on_ready(listen, admin)
        await self._stop.wait()
        await self._drain(transport)

    def stop(self) -> None:
        """Begin to drain; what SIGTERM and SIGINT do."""
        self._stop.set()

    async def reload(self, why: str) -> None:
        """Read the configuration again; log, metric and /readyz say if it is broken and the old one serves on, or partly."""
        async with self._reload_lock:
            if self._stop.is_set():
                return
            try:
                with held():
                    taken = await in_background(self._sidecar.reload, "reload")
            except InvalidConfigurationError as error:
                _log(error.findings)
                self._refuse(why, tuple(map(str, error.findings)))
            except Exception as error:
                LOG.exception("a reload failed in a way that no finding tells")
                self._refuse(why, (f"{type(error).__name__}; the log says more",))
            else:
                if isinstance(taken, PartlyTaken):
                    self._reloads.add(("partly",))
                    self._take_partly(f"reload ({why})", taken)
                    return
                self._broken = ()
                self._reloads.add(("ok",))
                LOG.info("reload (%s): %s", why, taken)

    def _refuse(self, why: str, findings: tuple[str, ...]) -> None:
        self._broken = ("the newest configuration is refused, the one before serves on:", *findings)
        self._reloads.add(("error",))
        LOG.error("reload (%s): refused, findings: %d; the old configuration serves on", why, len(findings))

    def _take_partly(self, when: str, taken: PartlyTaken) -> None:
        headline = f"the newest configuration is partly taken; {taken.what_holds}:"
        self._broken = (headline, *map(str, taken.findings))
        _log(taken.findings)
        LOG.error("%s: partly taken, findings: %d; %s", when, len(taken.findings), taken.what_holds)

    def _transport(self) -> Transport:
        settings = self._settings
        services = [instrumented(service, self._calls, self._tracing) for service in self._sidecar.services]
        address = settings.listen_address(self._worker or 0)
        return build(
            self._choice,
            address,
            services,
            self._health,
            tls=settings.tls,
            reuse_port=self._shares_port,
            socket_mode=settings.socket_permissions,
        )

    @property
    def _shares_port(self) -> bool:
        return self._worker is not None and self._settings.workers_share_port

    async def _drain(self, transport: Transport) -> None:
        settings = self._settings
        await self._health.set_serving(False)
        LOG.info("draining: health says NOT_SERVING; calls in flight have %g s", settings.drain_time)

        async def finish() -> None:
            await asyncio.gather(asyncio.sleep(settings.drain_delay), self._sidecar.drain())
            await transport.stop(settings.drain_time)

        finishing = asyncio.create_task(finish())
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((finishing, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if finishing.done():
            finishing.result()
        else:
            LOG.warning("interrupted again: calls in flight are given up")
            finishing.cancel()
            await asyncio.wait((finishing,))

    async def _watch(self) -> None:
        if self._is_stale:
            await self.reload("changed during the start")
        while watched := tuple(self._sidecar.watched):
            began_ns = await self._watch_these(watched)
            # The configuration names other files now (keys, bundles): they are watched from here on.
            self._known = await in_background(
                lambda: fingerprint(self._sidecar.watched), "configuration-look"
            )
            if touched_since(self._sidecar.watched, began_ns):
                await self.reload("changed during a reload")

    async def _watch_these(self, watched: tuple[Path, ...]) -> int:
        """Reload at each change of *watched*, until others are to be watched; return when that reload began (Unix, ns)."""
        async with aclosing(changes(watched, known=self._known)) as found:
            async for change in found:
                began_ns = time.time_ns()
                await self.reload(str(change))
                if tuple(self._sidecar.watched) != watched:
                    return began_ns
        raise AssertionError("the watcher ended")

    def _on_watch_end(self, watching: asyncio.Task[None]) -> None:
        if watching.cancelled() or self._stop.is_set() or not self._sidecar.watched:
            return
        error = watching.exception()
        self._unwatched = f"changes of the configuration are no longer seen, restart it: {error!r}"
        LOG.critical("%s", self._unwatched, exc_info=error)

    async def _stop_watching(self, watching: asyncio.Task[None]) -> None:
        self._stop.set()
        # A reload that runs ends before the sidecar is stopped, if it does end.
        ending = asyncio.create_task(self._reload_lock.acquire())
        hurried = asyncio.create_task(self._hurry.wait())
        bound_s = self._settings.drain_time + _RELOAD_MARGIN_S
        await asyncio.wait((ending, hurried), timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            LOG.error("a reload has not ended; it is left behind")
        for task in (ending, hurried, watching):
            task.cancel()
        await asyncio.wait((ending, hurried, watching))

    def _handle_signals(self, closing: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        reloading: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            task = loop.create_task(self.reload("SIGHUP"))
            reloading.add(task)
            task.add_done_callback(reloading.discard)

        def on_interrupt() -> None:
            # Not so SIGTERM: a supervisor may repeat it, and a terminal's Ctrl-C reaches a worker besides it.
            self._interrupts += 1
            if self._interrupts > 1:
                self._hurry.set()
            self.stop()

        # Behind the handlers there is what the command line set: SIGHUP ignored, which must not end a drained process.
        closing.callback(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        handlers = {signal.SIGTERM: self.stop, signal.SIGINT: on_interrupt, signal.SIGHUP: on_hangup}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
            closing.callback(loop.remove_signal_handler, number)

    def _export_metrics(self) -> None:
        self._metrics.export([self._calls, self._reloads, *self._sidecar.tallies])
        self._metrics.gauge(
            "config.broken",
            "1 while the newest configuration is refused, or partly",
            lambda: float(bool(self._broken or self._unwatched)),
        )
        self._metrics.gauge(
            "health.serving", "1 while health says SERVING", lambda: float(self._health.serving)
        )

    def _readiness(self) -> Readiness:
        details: list[str] = []
        if not self._health.serving:
            details.append("draining" if self._stop.is_set() else "starting")
        details.extend(self._broken)
        if self._unwatched:
            details.append(self._unwatched)
        details.extend(self._sidecar.concerns())
        return Readiness(self._health.serving, tuple(details))

    def _config(self) -> Mapping[str, object]:
        settings = self._settings
        return {
            "service": self._sidecar.name,
            "version": __version__,
            "listen": str(settings.listen_address(self._worker or 0)),
            "transport": {
                "asked": settings.transport,
                "serves": self._choice.name,
                "why": self._choice.reason,
            },
            "tls": settings.tls is not None,
            "client_certificates": settings.tls_client_ca is not None,
            "drain_delay": settings.drain_delay,
            "drain_time": settings.drain_time,
            **self._sidecar.describe(),
        }

    async def _shutdown_telemetry(self) -> None:
        flushes = [self._metrics.shutdown]
        if self._tracing is not None:
            flushes.append(self._tracing.shutdown)
        # Daemons, and not the loop's own threads, which it would wait for however long a collector is silent.
        threads = [threading.Thread(target=flush, daemon=True) for flush in flushes]
        for thread in threads:
            thread.start()
        deadline_s = time.monotonic() + _FLUSH_S
        for thread in threads:
            await asyncio.to_thread(thread.join, max(0.0, deadline_s - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            LOG.warning("the OTLP collector did not take the last telemetry in %g s", _FLUSH_S)


def _log(findings: Sequence[Finding]) -> None:
    for finding in findings:
        LOG.error("%s", finding)
