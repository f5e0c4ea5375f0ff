"""The load: h2load, which speaks real gRPC over HTTP/2, against one server; and what came of it."""

import os
import re
import shutil
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_RATE = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
_DONE = re.compile(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded")
_DATA = re.compile(r"traffic: .*\((\d+)\) data")
_FRAME_BYTES = 5
_MICROSECONDS_IN_MS = 1000
_MS_IN_S = 1000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SCALE_CALLS = 10_000
_TICK_MS = 10
"""h2load looks so often at what is due by `--rps`, and then a connection sends all of that at once."""


class LoadError(Exception):
    """The load could not be made, or calls failed; the message is h2load's output."""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """So many connections with so many calls in flight on each, and how many calls are made in all.

    With `per_second` calls begin at that rate, whether the ones before were answered or not (an open load), and
    `in_flight` only bounds them. They come all at once every 10 ms, unless they are `spread`: then connections take
    turns within those 10 ms, so that a hundredth of `per_second` as connections sends them one by one.
    """

    connections: int
    in_flight: int
    calls: int
    per_second: int = 0
    spread: bool = False

    def __str__(self) -> str:
        if not self.per_second:
            return f"{self.connections} x {self.in_flight}"
        at_once = self.per_second * _TICK_MS // _MS_IN_S // (self.connections if self.spread else 1)
        return f"{self.per_second:,}/s, {at_once} at once"

    def options(self) -> list[str]:
        """Return what h2load is told of it."""
        options = [
            f"--requests={self.calls}",
            f"--clients={self.connections}",
            f"--max-concurrent-streams={self.in_flight}",
        ]
        if self.per_second:
            options.append(f"--rps={self.per_second / self.connections:g}")
        if self.spread:
            options += ["--rate=1", f"--rate-period={_TICK_MS // self.connections}ms"]
        return options


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run measured; the CPU is the server's alone, in seconds for 10,000 calls."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_10k: float


def framed(messages: Sequence[bytes]) -> bytes:
    """Return the body of a gRPC call that sends *messages*, uncompressed."""
    return b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)


def require_h2load() -> None:
    """Raise LoadError, with what to do, if there is no h2load."""
    if shutil.which("h2load") is None:
        raise LoadError("h2load is missing: apt-get install nghttp2-client")


def run(port: int, path: str, body: bytes, concurrency: Concurrency, server_pid: int) -> Sample:
    """Call *path* as often as *concurrency* says, each call with *body*. Raises LoadError if any call failed."""
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder) / "body", Path(folder) / "log"
        data.write_bytes(body)
        argv = [
            "h2load",
            *concurrency.options(),
            f"--data={data}",
            f"--log-file={log}",
            "--header=content-type: application/grpc",
            "--header=te: trailers",
            f"http://127.0.0.1:{port}{path}",
        ]
        before = _cpu_seconds(server_pid)
        result = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        cpu_s = _cpu_seconds(server_pid) - before
        return parse(result.stdout + result.stderr, log.read_text("ascii"), cpu_s)


def parse(output: str, log: str, cpu_s: float) -> Sample:
    """Read h2load's summary and its log (start time, status and microseconds of each call)."""
    rate, done = _RATE.search(output), _DONE.search(output)
    if rate is None or done is None or done.group(1) != done.group(2):
        raise LoadError(output)
    calls = int(done.group(1))
    # Any answer comes in a frame; a gRPC error is HTTP 200 as well, but has none.
    data = _DATA.search(output)
    if data is None or int(data.group(1)) < calls * _FRAME_BYTES:
        raise LoadError(f"some calls ended in a gRPC error\n{output}")
    times_ms = [int(line.split("\t")[2]) / _MICROSECONDS_IN_MS for line in log.splitlines()]
    percentiles = statistics.quantiles(times_ms, n=100, method="inclusive")
    return Sample(
        calls_per_s=float(rate.group(1)),
        p50_ms=percentiles[49],
        p99_ms=percentiles[98],
        cpu_s_per_10k=cpu_s * _SCALE_CALLS / calls,
    )


def _cpu_seconds(pid: int) -> float:
    # The name in parentheses may hold anything; utime and stime are the 14th and 15th field of proc(5) `stat`.
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
