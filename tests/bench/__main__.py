"""`make bench`: every service alone on every transport, beside the empty handler, in interleaved rounds."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.progress import Progress

from envoy_demo.processes import Processes
from tests.bench import report, subjects
from tests.bench.load import Concurrency, LoadError, Sample, require_h2load, run

_ONE = Concurrency(connections=1, in_flight=1, calls=2_000)
_LOADS = {
    "native": (
        _ONE,
        Concurrency(connections=10, in_flight=64, calls=3_000, per_second=1_000, spread=True),
        Concurrency(connections=2, in_flight=64, calls=2_000, per_second=1_000),
        Concurrency(connections=2, in_flight=64, calls=60_000),
        Concurrency(connections=2, in_flight=32, calls=60_000),
    ),
    "grpcio": (_ONE, Concurrency(connections=2, in_flight=32, calls=12_000)),
}
"""What each transport is measured at; the plot shows the last."""
_ORDER = [str(load) for load in _LOADS["native"]]
_WARM_UP = Concurrency(connections=2, in_flight=32, calls=2_000)

app = App(name="bench", help="Measure the services and their transports with h2load, on loopback.")


@app.default
def bench(
    *,
    rounds: Annotated[
        int,
        Parameter(validator=validators.Number(gte=1, lte=50), help="Each subject is measured once a round."),
    ] = 3,
    only: Annotated[str, Parameter(help="Measure only subjects with this in their name.")] = "",
    out: Annotated[Path, Parameter(help="Folder for bench.json and bench.svg.")] = Path("build/bench"),
) -> int:
    """Measure; exit code 0, or 1 if a call failed or h2load is missing."""
    console = Console()
    try:
        require_h2load()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Processes(Path(folder)) as processes:
            measured, yardsticks = _measure(console, processes, rounds, only)
    except LoadError as error:
        console.print(f"The benchmark failed: {error}", style="bold red", markup=False)
        return 1
    found = report.results(measured, yardsticks)
    report.show(console, found)
    for path in report.keep(out, found, rounds):
        console.print(f"written: {path}")
    return 0


def _measure(
    console: Console, processes: Processes, rounds: int, only: str
) -> tuple[dict[report.Key, list[Sample]], dict[str, str]]:
    chosen = [
        subject for subject in subjects.start(processes) if only in subject.name or not subject.yardstick
    ]
    if all(not subject.yardstick for subject in chosen):
        raise LoadError(f"no subject has {only!r} in its name")
    measured: dict[report.Key, list[Sample]] = {}
    with Progress(console=console, transient=True) as progress:
        loads = [(subject, load) for subject in chosen for load in _LOADS[subject.transport]]
        task = progress.add_task("measuring", total=rounds * len(loads))
        for subject in chosen:
            subject.check()
            run(subject.port, subject.path, subject.body, _WARM_UP, subject.process.pid)
        # Round by round, so that a busy minute of the machine meets all subjects and the ratios stay.
        for _ in range(rounds):
            for subject, load in sorted(loads, key=lambda each: _ORDER.index(str(each[1]))):
                sample = run(subject.port, subject.path, subject.body, load, subject.process.pid)
                measured.setdefault(report.key(subject, load), []).append(sample)
                progress.advance(task)
    return measured, {subject.name: subject.yardstick for subject in chosen if subject.yardstick}


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
