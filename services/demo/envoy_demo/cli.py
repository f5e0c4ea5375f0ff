"""The demo's command: start everything, send the scripted traffic, show what came of it, stay up."""

import select
import signal
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

from cyclopts import App, Parameter, validators
from cyclopts.config import Env
from rich.console import Console

from envoy_demo import table
from envoy_demo.outcome import Outcome, leaks, play
from envoy_demo.processes import Processes, ProcessFailedError
from envoy_demo.scenario import STEPS, TAP_PATH
from envoy_demo.stack import Stack, start_stack
from envoy_sidecar.transport.port import ListenError

_EXIT_OK = 0
_EXIT_FAILED = 1

app = App(
    name="envoy-demo",
    help="Envoy, authz, ratelimit, tap and an upstream on this machine, with scripted traffic that shows each at work.",
    config=Env("DEMO_", command=False),
    error_console=Console(stderr=True),
)


@app.default
def demo(
    *,
    once: Annotated[
        bool, Parameter(negative=(), help="End after the scripted traffic instead of staying up.")
    ] = False,
    port: Annotated[
        int,
        Parameter(validator=validators.Number(gte=0, lte=65535), help="Envoy's port; 0 takes a free one."),
    ] = 0,
) -> int:
    """Run the demo; the exit code is 0 if everything came out as it should, else 1."""
    console = table.make_console()
    code = _EXIT_OK
    _end_by_exception()
    try:
        # The processes end before their folder goes.
        with (
            tempfile.TemporaryDirectory(prefix="envoy-demo-") as folder,
            Processes(Path(folder)) as processes,
        ):
            stack = _started(console, processes, port)
            code = _show(console, stack)
            if not once:
                console.print(table.play_with_it(stack), soft_wrap=True)
                _watch(processes)
    except (ProcessFailedError, ListenError, OSError, HTTPException) as error:
        console.print(f"The demo failed: {error}", style="bold red", markup=False, soft_wrap=True)
        return _EXIT_FAILED
    except KeyboardInterrupt:
        console.print("Ended; nothing is left running.")
    return code


def main() -> NoReturn:
    """Run the command line and exit."""
    sys.exit(app(result_action="return_value"))


def _started(console: Console, processes: Processes, port: int) -> Stack:
    try:
        return start_stack(processes, TAP_PATH, port)
    except ProcessFailedError as error:
        # The one that was not ready may have waited for another, and their logs go with their folder.
        for process in processes.all:
            if process.log_tail() not in str(error):
                console.print(process.log_tail(), markup=False, soft_wrap=True)
        raise


def _show(console: Console, stack: Stack) -> int:
    outcomes: list[Outcome] = []
    with console.status("sending the scripted traffic"):
        outcomes.extend(play(stack, step) for step in STEPS)
    console.print(table.outcomes_table(outcomes))
    console.print(table.verdict_text(outcomes), soft_wrap=True)
    leaked = leaks(stack)
    if leaked:
        console.print(f"the secret stands in the tap's {', '.join(leaked)}", style="bold red", markup=False)
    return _EXIT_FAILED if leaked or any(outcome.problems for outcome in outcomes) else _EXIT_OK


def _watch(processes: Processes) -> None:
    """Return never: until a signal ends the wait, or a program ends that should not."""
    poller = select.poll()
    by_descriptor = {process.fileno(): process for process in processes.all}
    for descriptor in by_descriptor:
        poller.register(descriptor, select.POLLIN)
    for descriptor, _event in poller.poll():
        ended = by_descriptor[descriptor]
        raise ProcessFailedError(f"{ended.name} ended by itself with {ended.wait(0)}\n{ended.log_tail()}")


def _end_by_exception() -> None:
    """Make SIGTERM and SIGHUP end the demo as Ctrl-C does, with everything cleaned up on the way."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell that runs the demo in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
