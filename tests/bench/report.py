"""What the runs say together: medians, ratios within the same round, and how they are shown and kept."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pygal
from rich.console import Console
from rich.table import Table

from envoy_sidecar import __version__
from tests.bench.load import Concurrency, Sample
from tests.bench.subjects import Subject


@dataclass(frozen=True, slots=True)
class Result:
    """One subject at one concurrency: the median sample, and ratios of calls/s as medians over the rounds.

    `of_empty` is against the empty handler of the same transport, `of_grpcio` against the same subject on grpcio; None
    where there is nothing to compare with, and in an open load, where all have the same rate.
    """

    name: str
    transport: str
    concurrency: str
    sample: Sample
    of_empty: float | None
    of_grpcio: float | None


Key = tuple[str, str, str]
Rounds = Mapping[Key, Sequence[Sample]]
"""The samples of each (subject, transport, concurrency), one a round, in the order of the rounds."""


def key(subject: Subject, concurrency: Concurrency) -> Key:
    """Return the key of a subject's samples."""
    return subject.name, subject.transport, str(concurrency)


def results(rounds: Rounds, yardsticks: Mapping[str, str]) -> list[Result]:
    """Return what *rounds* come to; *yardsticks* names the empty handler of each subject that has one."""
    found: list[Result] = []
    for (name, transport, concurrency), samples in rounds.items():
        yardstick = yardsticks.get(name)
        is_open = _is_open(concurrency)
        found.append(
            Result(
                name,
                transport,
                concurrency,
                _median(samples),
                None if is_open else _ratio(samples, rounds.get((yardstick or "", transport, concurrency))),
                None
                if is_open or transport == "grpcio"
                else _ratio(samples, rounds.get((name, "grpcio", concurrency))),
            )
        )
    return found


def show(console: Console, found: Sequence[Result]) -> None:
    """Print the results as one table for each concurrency."""
    for concurrency in dict.fromkeys(result.concurrency for result in found):
        table = Table(
            title=f"{concurrency}, open load" if _is_open(concurrency) else f"{concurrency} in flight",
            title_justify="left",
            box=None,
            padding=(0, 1, 0, 0),
        )
        for heading in ("", "on"):
            table.add_column(heading, no_wrap=True)
        for heading in ("calls/s", "p50 ms", "p99 ms", "CPU s/10k", "of empty", "x grpcio"):
            table.add_column(heading, justify="right", no_wrap=True)
        for result in found:
            if result.concurrency == concurrency:
                sample = result.sample
                table.add_row(
                    result.name,
                    result.transport,
                    f"{sample.calls_per_s:,.0f}",
                    f"{sample.p50_ms:.2f}",
                    f"{sample.p99_ms:.2f}",
                    f"{sample.cpu_s_per_10k:.2f}",
                    "" if result.of_empty is None else f"{result.of_empty:.0%}",
                    "" if result.of_grpcio is None else f"{result.of_grpcio:.1f}",
                )
        console.print(table)


def keep(folder: Path, found: Sequence[Result], rounds: int) -> tuple[Path, Path]:
    """Write `bench.json` and `bench.svg` to *folder*; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_svg = folder / "bench.json", folder / "bench.svg"
    about = {
        "version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rounds": rounds,
        "results": [asdict(result) for result in found],
    }
    as_json.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    as_svg.write_bytes(_plot(found))
    return as_json, as_svg


def _plot(found: Sequence[Result]) -> bytes:
    many = list(dict.fromkeys(result.concurrency for result in found))[-1]
    shown = [result for result in found if result.concurrency == many]
    names = list(dict.fromkeys(result.name for result in shown))
    chart = pygal.HorizontalBar(
        title=f"calls/s, {many} in flight, {os.cpu_count()} cores with the load generator",
        x_title="calls/s",
        print_values=True,
        formatter=lambda value: f"{value:,.0f}" if value else "",
        # Without it the picture loads a script from another host when it is opened.
        js=[],
        disable_xml_declaration=False,
    )
    chart.x_labels = names
    for transport in ("native", "grpcio"):
        rates = {result.name: result.sample.calls_per_s for result in shown if result.transport == transport}
        chart.add(transport, [rates.get(name) for name in names])
    rendered: bytes = chart.render()
    return rendered


def _is_open(concurrency: str) -> bool:
    return "/s" in concurrency


def _median(samples: Sequence[Sample]) -> Sample:
    def middle(of: Callable[[Sample], float]) -> float:
        return statistics.median(map(of, samples))

    return Sample(
        middle(lambda sample: sample.calls_per_s),
        middle(lambda sample: sample.p50_ms),
        middle(lambda sample: sample.p99_ms),
        middle(lambda sample: sample.cpu_s_per_10k),
    )


def _ratio(samples: Sequence[Sample], others: Sequence[Sample] | None) -> float | None:
    if others is None:
        return None
    pairs = zip(samples, others, strict=True)
    return statistics.median(sample.calls_per_s / other.calls_per_s for sample, other in pairs)
