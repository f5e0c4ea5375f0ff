"""What the tap slot costs: requests through real Envoys that differ in their slot alone, in interleaved rounds.

    python -m tests.bench.tap_overhead [--rounds N] [--write]

Each variant is two Envoys of its own with one worker each, for one process may be lucky; one tap service tells them their
sessions. `--write` puts the table into docs/tap-overhead.md.
"""

import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import App, Parameter

from envoy_demo import configs
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_tap
from tests.bench.load import Sample, parse, require_h2load

PAGE = Path(__file__).parents[2] / "docs" / "tap-overhead.md"
BEGIN, END = "<!-- made by tests/bench/tap_overhead.py -->\n", "<!-- end -->\n"
_BODY = "hello from the far side\n"
_PATHS = ("direct", "proxied")
_SECONDS = 0.4
_NANOSECONDS = 1_000_000_000
_CLIENTS = 8
_TARGETED_OF = 100
_PROXIES = 2
_RESAMPLES = 2000
_CHANCE = random.Random(0)  # noqa: S311 - no secret

# The variant, and the session of its proxy; None is no slot at all, "" an idle one.
VARIANTS: Mapping[str, str | None] = {
    "no slot": None,
    # How far from 1 its row is, is noise.
    "no slot, other proxies": None,
    "idle slot": "",
    "a session that does not match": "path^=/elsewhere",
    "a session that matches 1% (by path)": "path*=targeted",
    "a session that samples 1%": "sample(1%)",
    "a session that matches all": "all",
}
_ALL = "a session that matches all"
_FROZEN = f"{_ALL}, the service frozen"
# So long its proxies go on capturing; what is measured meanwhile must take less.
_TTL_S = 300
_YARDSTICK = {_FROZEN: "no slot, the service frozen"}
app = App(name="tap_overhead", help=__doc__)


@dataclass(frozen=True, slots=True)
class Row:
    """One variant on one path: medians over the rounds, and ratios to no slot in the same round.

    `rate` is of requests/s, and `rate_95` its 95% interval; `cpu` is of requests that Envoy serves with a second of CPU,
    which other programs on the machine disturb less.
    """

    variant: str
    path: str
    rate: float
    rate_95: tuple[float, float]
    cpu: float
    p50_ms: float
    p99_ms: float


@app.default
def main(
    *,
    rounds: Annotated[int, Parameter(help="Each proxy is measured once a round.")] = 15,
    write: Annotated[bool, Parameter(help="Put the table into docs/tap-overhead.md.")] = False,
) -> int:
    """Measure, and print the table."""
    require_h2load()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, Processes(Path(folder)) as processes:
        tap, proxies = _start(processes)
        for path in _PATHS:
            for envoy in (each for pair in proxies.values() for each in pair):
                _load(processes.folder, envoy, path)
        found: dict[tuple[str, str], list[Sample]] = {}
        for _ in range(rounds):
            for key, sample in _round(processes.folder, proxies):
                found.setdefault(key, []).append(sample)
        tap.process.signal(signal.SIGSTOP)
        frozen = {_FROZEN: proxies[_ALL], _YARDSTICK[_FROZEN]: proxies["no slot"]}
        for _ in range(rounds):
            for key, sample in _round(processes.folder, frozen):
                found.setdefault(key, []).append(sample)
        tap.process.signal(signal.SIGCONT)
    text = _table(list(_rows(found)), rounds)
    sys.stdout.write(text)
    if write:
        page = PAGE.read_text("utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}", "utf-8")
    return 0


def _start(processes: Processes) -> tuple[Service, dict[str, list[Envoy]]]:
    options = ("--drain-delay", "0", "--log-level", "warning", "--slot-ttl", str(_TTL_S))
    tap = start_tap(processes, processes.folder / "tap", options)
    tap.wait_ready()
    far = start_envoy(processes, _config(tap, 1, "far", with_slot=False))
    proxies: dict[str, list[Envoy]] = {variant: [] for variant in VARIANTS}
    for number in range(_PROXIES):
        for place, (variant, predicate) in enumerate(VARIANTS.items()):
            node = f"proxy-{place}-{number}"
            config = _config(tap, far.port, node, with_slot=predicate is not None)
            proxies[variant].append(start_envoy(processes, config))
            if predicate:
                # One session for each, so that what a session may capture lasts as long as for one proxy.
                _tap(tap, node, predicate)
    return tap, proxies


def _config(tap: Service, upstream_port: int, node: str, *, with_slot: bool) -> configs.Config:
    config = configs.on_ports(
        configs.load("tap.yaml"), {"upstream": [upstream_port], "envoy_tap": [tap.port]}
    )
    config["node"]["id"] = node
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    answer = {"status": 200, "body": {"inline_string": _BODY}}
    routes.insert(0, {"match": {"prefix": "/direct"}, "direct_response": answer})
    if node == "far":
        routes[1] = {"match": {"prefix": "/"}, "direct_response": answer}
    if not with_slot:
        manager["http_filters"] = [
            each for each in manager["http_filters"] if each["name"] != "envoy_tap_slot"
        ]
    return config


def _tap(tap: Service, node: str, predicate: str) -> None:
    url = f"http://{LOOPBACK}:{tap.admin_port}/api/v1"
    limits = {"exchanges": 100_000, "bytes": 1 << 30, "rate_per_s": 1000, "duration_s": 3600}
    asked = {"why": "overhead", "predicate": predicate, "nodes": {"ids": [node]}, "limits": limits}
    session = httpx.post(f"{url}/sessions", json=asked).raise_for_status().json()["id"]

    def taken() -> bool | None:
        nodes: list[dict[str, Any]] = httpx.get(f"{url}/nodes").json()["nodes"]
        return (
            any(
                session in each["sessions"] and each["acked_version"] == each["sent_version"]
                for each in nodes
            )
            or None
        )

    tap.process.until(taken, "a tapped proxy")


def _round(folder: Path, proxies: Mapping[str, Sequence[Envoy]]) -> Iterator[tuple[tuple[str, str], Sample]]:
    """Measure all first proxies of the variants on all paths, then all second ones; yield the means of each pair."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for number in range(_PROXIES):
        # In one order, the same variant would always come while the service still works on what all matched before.
        for variant in _CHANCE.sample(list(proxies), len(proxies)):
            for path in _PATHS:
                sample = _load(folder, proxies[variant][number], path)
                found.setdefault((variant, path), []).append(sample)
    for key, samples in found.items():
        yield key, Sample(*map(statistics.fmean, zip(*map(astuple, samples), strict=True)))


def _load(folder: Path, envoy: Envoy, path: str) -> Sample:
    """Make requests for a while by HTTP/1.1, one in a hundred to a path of its own."""
    base = f"http://{LOOPBACK}:{envoy.port}/{path}"
    uris, log = folder / f"{path}.uris", folder / "log"
    urls = [f"{base}/{'targeted' if number == 0 else 'other'}" for number in range(_TARGETED_OF)]
    uris.write_text("\n".join(urls) + "\n", "ascii")
    log.unlink(missing_ok=True)
    argv = ["h2load", "--h1", f"--duration={_SECONDS * 1000:.0f}ms", f"--clients={_CLIENTS}"]
    argv += [f"--log-file={log}", f"--input-file={uris}"]
    before_s = _cpu_s(envoy.process.pid)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    cpu_s = _cpu_s(envoy.process.pid) - before_s
    return parse(done.stdout + done.stderr, log.read_text("ascii"), cpu_s)


def _cpu_s(pid: int) -> float:
    """Return how long all threads of a process have run: the first field of schedstat (proc(5)), to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text("ascii").split()[0]) for each in tasks) / _NANOSECONDS


def _rows(found: Mapping[tuple[str, str], Sequence[Sample]]) -> Iterator[Row]:
    for path in _PATHS:
        for variant in (*VARIANTS, _FROZEN):
            yardstick = found[(_YARDSTICK.get(variant, "no slot"), path)]
            samples = found[(variant, path)]
            pairs = list(zip(samples, yardstick, strict=True))
            rates = [one.calls_per_s / other.calls_per_s for one, other in pairs]
            yield Row(
                variant,
                path,
                statistics.median(rates),
                _interval(rates),
                statistics.median(other.cpu_s_per_10k / one.cpu_s_per_10k for one, other in pairs),
                statistics.median(each.p50_ms for each in samples),
                statistics.median(each.p99_ms for each in samples),
            )


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the median of *values*, by bootstrap over them."""
    medians = [statistics.median(_CHANCE.choices(values, k=len(values))) for _ in range(_RESAMPLES)]
    cuts = statistics.quantiles(medians, n=40)
    return cuts[0], cuts[-1]


def _table(rows: Sequence[Row], rounds: int) -> str:
    head = (
        f"Medians of {rounds} rounds, in parentheses the 95% interval; each round is the mean of {_PROXIES} proxies, "
        f"{_SECONDS} s each; {_CLIENTS} connections of HTTP/1.1; one Envoy worker.\n"
    )
    parts = [head]
    for path, what in (("direct", "A direct response"), ("proxied", "A proxied request")):
        parts.append(
            f"\n| {what}; the slot holds | requests/s | requests/s of CPU | p50 ms | p99 ms |\n|---|---|---|---|---|\n"
        )
        parts += [
            f"| {row.variant} | {row.rate:.2f} ({row.rate_95[0]:.2f}-{row.rate_95[1]:.2f}) | {row.cpu:.2f} "
            f"| {row.p50_ms:.2f} | {row.p99_ms:.2f} |\n"
            for row in rows
            if row.path == path
        ]
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
