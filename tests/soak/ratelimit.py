"""`make soak`: ratelimit under load for long, reloaded every few seconds, its Redis restarted: does anything grow?

Not a test that pytest collects: it takes minutes, and a person reads the table. The exit code is 1 if a call failed,
or if memory, threads or file descriptors grew.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from envoy_demo.client import get
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_ratelimit
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitDescriptor, RateLimitRequest
from tests.bench.load import framed
from tests.ratelimit.servers import Server, start_server

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
SLICE_S = 5
RESTART_EVERY = 6
"""Redis is restarted in every so-manieth slice."""
CALLERS = 40
GROWTH_KB = 4096
GROWTH_OF_A_COUNT = 2
_ROW_EVERY_S = 60
_DONE = re.compile(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed")
_RATE = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
_RELOADS = re.compile(r'config_reloads_total\{[^}]*result="ok"[^}]*\} ([\d.]+)')
_STORE_FAILURES = re.compile(r"ratelimit_store_failures_total\{[^}]*\} ([\d.]+)")

app = App(name="soak", help="Hold ratelimit under load, reloads and restarts of Redis, and watch what grows.")


@dataclass(frozen=True, slots=True)
class Seen:
    """The service after a slice of load."""

    at_s: float
    calls: int
    failed: int
    calls_per_s: float
    rss_kb: int
    threads: int
    files: int


def limits(turn: int) -> str:
    """Return limits of which one changes at each turn, and one comes and goes."""
    coming = f"  - {{ key: turn{turn % 50}, rate_limit: {{ unit: minute, requests_per_unit: 5 }} }}\n"
    return (
        "domain: soak\ndescriptors:\n"
        "  - { key: wide, rate_limit: { unit: second, requests_per_unit: 10000000 } }\n"
        f"  - {{ key: narrow, rate_limit: {{ unit: second, requests_per_unit: {100 + turn % 7} }} }}\n"
        "  - { key: window, rate_limit: { unit: minute, requests_per_unit: 50, algorithm: sliding_window } }\n"
        f"{coming}"
    )


def bodies(folder: Path) -> Iterator[Path]:
    """Yield files of one request each: what passes, what is refused, and values that are new in every slice."""
    for turn in count():
        descriptors = [
            [("wide", f"value{turn}")],
            [("narrow", f"value{turn % CALLERS}")],
            [("window", "all")],
            [(f"turn{turn % 50}", "x"), ("unknown", "y")],
        ]
        message = RateLimitRequest(domain="soak")
        for entries in descriptors[: 1 + turn % len(descriptors)]:
            made = [RateLimitDescriptor.Entry(key=key, value=value) for key, value in entries]
            message.descriptors.add(entries=made)
        file = folder / f"body-{turn % 2}"
        file.write_bytes(framed([message.SerializeToString()]))
        yield file


def load(service: Service, body: Path, *, seconds: float) -> subprocess.Popen[str]:
    """Start h2load at full speed, for so long."""
    argv = [
        "h2load",
        f"--duration={seconds}",
        "--clients=2",
        "--max-concurrent-streams=32",
        f"--data={body}",
        "--header=content-type: application/grpc",
        "--header=te: trailers",
        f"http://{LOOPBACK}:{service.port}{METHOD}",
    ]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def look(service: Service, output: str, at_s: float) -> Seen:
    """Return what h2load said and what /proc says."""
    done, rate = _DONE.search(output), _RATE.search(output)
    if done is None or rate is None:
        raise RuntimeError(f"h2load did not end as it should\n{output}")
    _, _, calls, succeeded, _ = map(int, done.groups())
    folder = Path(f"/proc/{service.process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text("ascii").splitlines())
    return Seen(
        at_s=at_s,
        calls=calls,
        failed=calls - succeeded,
        calls_per_s=float(rate.group(1)),
        rss_kb=int(status["VmRSS"].split()[0]),
        threads=int(status["Threads"]),
        files=len(list((folder / "fd").iterdir())),
    )


@app.default
def soak(
    *,
    minutes: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1440))] = 10,
    out: Annotated[Path | None, Parameter(help="A folder that keeps logs; else they go.")] = None,
) -> int:
    """Soak; exit code 0, or 1 if a call failed or something grew."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with Processes(folder) as processes:
            return _soak(console, processes, minutes * 60)


def _soak(console: Console, processes: Processes, seconds: float) -> int:
    file = processes.folder / "limits.yaml"
    file.write_text(limits(0), "utf-8")
    redis = start_server(processes)
    service = start_ratelimit(processes, file, redis.url, ("--decision-log", "0.001"))
    service.wait_ready()
    seen: list[Seen] = []
    restarts = 0
    began_s = time.monotonic()
    for turn, body in enumerate(bodies(processes.folder), 1):
        running = load(service, body, seconds=SLICE_S)
        try:
            time.sleep(SLICE_S / 3)
            _write(file, limits(turn))
            if turn % RESTART_EVERY == 0:
                redis = _restarted(processes, redis)
                restarts += 1
            output, _ = running.communicate(timeout=SLICE_S * 4)
        finally:
            running.kill()
        at_s = time.monotonic() - began_s
        seen.append(look(service, output, at_s))
        if at_s // _ROW_EVERY_S > (seen[-2].at_s if len(seen) > 1 else 0) // _ROW_EVERY_S:
            console.print(_line(seen[-1]), highlight=False)
        if at_s >= seconds:
            break
    metrics = get(service.admin_port, "/metrics").text
    reloads, failures = _total(_RELOADS, metrics), _total(_STORE_FAILURES, metrics)
    console.print(_table(seen))
    calls = sum(each.calls for each in seen)
    console.print(
        f"{calls:,} calls, {sum(each.failed for each in seen)} failed; {reloads:.0f} reloads, {restarts} restarts of "
        f"Redis, {failures:.0f} batches that it did not decide",
        highlight=False,
    )
    faults = [*verdict(seen), *([] if reloads >= turn // 2 else [f"only {reloads:.0f} reloads"])]
    for fault in faults:
        console.print(fault, style="bold red")
    return 1 if faults else 0


def verdict(seen: Sequence[Seen]) -> list[str]:
    """Say what is wrong: calls that failed, and growth from the second quarter to the last one."""
    faults = [f"{failed} calls failed"] if (failed := sum(each.failed for each in seen)) else []
    quarter = max(len(seen) // 4, 1)
    before, after = seen[quarter : 2 * quarter] or seen, seen[-quarter:]
    for what, of, allowed in (
        ("KB of memory", lambda each: each.rss_kb, GROWTH_KB),
        ("threads", lambda each: each.threads, GROWTH_OF_A_COUNT),
        ("file descriptors", lambda each: each.files, GROWTH_OF_A_COUNT),
    ):
        grown = statistics.median(map(of, after)) - statistics.median(map(of, before))
        if grown > allowed:
            faults.append(f"{grown:.0f} {what} more in the last quarter than in the second")
    return faults


def _restarted(processes: Processes, server: Server) -> Server:
    """Kill a Redis as a fault would, and start one on its port a little later, while the load goes on."""
    server.process.kill()
    time.sleep(0.3)
    return start_server(processes, port=server.port)


def _write(file: Path, text: str) -> None:
    new = file.with_name(".new")
    new.write_text(text, "utf-8")
    new.rename(file)


def _total(pattern: re.Pattern[str], text: str) -> float:
    return sum(map(float, pattern.findall(text)))


def _line(one: Seen) -> str:
    return f"{one.at_s:5.0f} s  {one.calls_per_s:8,.0f} calls/s  {one.rss_kb:,} KB  {one.threads} threads  {one.files} files"


def _table(seen: Sequence[Seen]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("part", "calls/s", "RSS MB", "most", "threads", "most", "files", "most"):
        table.add_column(heading, justify="right")
    parts = 10
    bounds = [len(seen) * part // parts for part in range(parts + 1)]
    for part, (first, last) in enumerate(pairwise(bounds)):
        if first == last:
            continue
        some = seen[first:last]
        row = [f"{part + 1}/{parts}", f"{statistics.median(each.calls_per_s for each in some):,.0f}"]
        for values, scale in (
            ([each.rss_kb for each in some], 1024),
            ([each.threads for each in some], 1),
            ([each.files for each in some], 1),
        ):
            digits = 1 if scale > 1 else 0
            row += [f"{statistics.median(values) / scale:.{digits}f}", f"{max(values) / scale:.{digits}f}"]
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
