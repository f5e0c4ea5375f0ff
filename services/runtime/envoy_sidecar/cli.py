"""The command line that every service has: `serve`, and the checking commands it adds, with the same exit codes."""

import asyncio
import io
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import httpx
from cyclopts import App, CycloptsError, CycloptsPanel, MissingArgumentError
from cyclopts.config import Env
from rich.console import Console
from starlette.routing import BaseRoute

from envoy_sidecar import __version__, admin_client, collector
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.lifecycle import Process
from envoy_sidecar.settings import ServerSettings, SettingsError
from envoy_sidecar.sidecar import Sidecar
from envoy_sidecar.telemetry import logs
from envoy_sidecar.telemetry.metrics import TelemetryError
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.port import ListenError
from envoy_sidecar.workers import Supervisor, WorkerRoutes, stop_with_supervisor, worker_from_environment

EXIT_CLEAN = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2

_SWITCH_INTERVAL_S = 0.0005


def make_app(name: str, description: str) -> App:
    """Return the command of the service *name*; every option can also be given as NAME_OPTION in the environment."""
    return App(
        name=f"envoy-{name}",
        help=description,
        version=__version__,
        config=Env(f"{name.upper()}_", command=False),
        error_console=Console(stderr=True),
    )


def run(app: App, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: what the command returns (0 clean, 1 findings), or 2 for usage or unreadable input."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name that is not UTF-8 must not end the command that names it; stderr is so by itself.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        app.error_console.print(CycloptsPanel(_explained(app, error)))
        sys.exit(EXIT_USAGE)
    except SettingsError as error:
        sys.stderr.write(f"{app.name[0]}: {error}\n")
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else EXIT_CLEAN)


def _explained(app: App, error: CycloptsError) -> CycloptsError | str:
    argument = error.argument
    if not isinstance(error, MissingArgumentError) or argument is None or argument.tokens:
        return error
    # The library says that the option requires an argument, which misleads when the option was not given at all.
    variable = f"{app.name[0].removeprefix('envoy-')}_{argument.name.removeprefix('--')}"
    return f"{argument.name} (or {variable.replace('-', '_').upper()}) is required: {argument.parameter.help}"


def health(admin: str) -> int:
    """Print what `/readyz` of the service that has its admin server at *admin* says; 0 if it is ready, else 1."""
    try:
        answer = admin_client.get(Address.parse(admin), "/readyz")
    except httpx.HTTPError as error:
        sys.stderr.write(f"no answer from {admin}: {error}\n")
        return EXIT_FINDINGS
    sys.stdout.write(answer.text)
    return EXIT_CLEAN if answer.is_success else EXIT_FINDINGS


def serve(
    name: str,
    settings: ServerSettings,
    make: Callable[[], Sidecar],
    routes: Callable[[Sidecar], Sequence[BaseRoute]] = lambda _sidecar: (),
    worker_routes: WorkerRoutes = lambda _workers: (),
) -> int:
    """Serve what *make* returns until a signal stops it; return the exit code.

    A configuration that is broken at the start, or an address that is taken, is said on stderr and exits with 2.
    With several workers this process supervises and each worker runs *make* itself; *routes* are then at the workers'
    own admin servers, and *worker_routes* at the supervisor's.
    """
    # Without a handler it would end the process; until there is one, what it asks for is done by the start itself.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logs.configure(settings.log_level, settings.log_format)
    # A reload in a thread of its own holds the interpreter for this long at each hand-over, and the dispatcher has to
    # wait for it: with the default of 5 ms a few hand-overs are all that Envoy's usual 20 ms have room for.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    worker = worker_from_environment()
    try:
        if settings.workers > 1 and worker is None:
            make()
            return asyncio.run(Supervisor(name, settings, worker_routes).run())
        asyncio.run(_serve(settings, make, worker, routes))
    except InvalidConfigurationError as error:
        sys.stderr.write(f"{error}\nenvoy-{name}: not started, findings: {len(error.findings)}\n")
        return EXIT_USAGE
    except (ListenError, TelemetryError) as error:
        sys.stderr.write(f"envoy-{name}: {error}\n")
        return EXIT_USAGE
    return EXIT_CLEAN


async def _serve(
    settings: ServerSettings,
    make: Callable[[], Sidecar],
    worker: tuple[int, Address] | None,
    routes: Callable[[Sidecar], Sequence[BaseRoute]],
) -> None:
    number, admin = worker or (None, None)
    started_ns = time.time_ns()
    sidecar = make()
    process = Process(
        sidecar, settings, worker=number, admin=admin, routes=routes(sidecar), started_ns=started_ns
    )
    collector.settle()
    if worker is not None:
        stop_with_supervisor(process.stop)
    await process.run()
