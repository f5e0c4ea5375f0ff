"""`python -m tests.conformance.ratelimit.against_reference BINARY`: the Go service and ours, asked the same at once.

BINARY is what `go install github.com/envoyproxy/ratelimit/src/service_cmd@latest` makes. Both get one environment (but
for their ports), one folder of limits and one server, and random requests. It is not collected by pytest, for nobody
needs Go to develop here. Left out is what differs on purpose: see docs/how-to/move-from-the-go-service.md.
"""

import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
from cyclopts import App, Parameter, validators
from google.protobuf.json_format import MessageToDict
from rich.console import Console

from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Process, Processes
from envoy_ratelimit import wire
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitRequest, RateLimitResponse
from tests.ratelimit.servers import start_server

# By the day and longer, so that no window ends while both are asked.
LIMITS = """
domain: d
descriptors:
  - { key: k, rate_limit: { unit: day, requests_per_unit: 3 } }
  - { key: k, value: v, rate_limit: { unit: DAY, requests_per_unit: 2, name: kv } }
  - { key: path, value: /a*, rate_limit: { unit: day, requests_per_unit: 2 } }
  - { key: path, value: /a/b, rate_limit: { unit: day, requests_per_unit: 1 } }
  - { key: path, rate_limit: { unit: day, requests_per_unit: 5 } }
  - { key: shared, value: /s*, share_threshold: true, rate_limit: { unit: day, requests_per_unit: 2 } }
  - { key: ban, rate_limit: { unit: day, requests_per_unit: 0 } }
  - { key: free, rate_limit: { unlimited: true } }
  - { key: listed }
  - { key: week, rate_limit: { unit: week, requests_per_unit: 4 } }
  - { key: month, rate_limit: { unit: month, requests_per_unit: 4 } }
  - { key: year, rate_limit: { unit: year, requests_per_unit: 4 } }
  - { key: shadow, shadow_mode: true, rate_limit: { unit: day, requests_per_unit: 1 } }
  - { key: reads, rate_limit: { unit: day, requests_per_unit: 1, name: reads } }
  - { key: lists, rate_limit: { unit: day, requests_per_unit: 5, name: lists, replaces: [{ name: reads }] } }
  - key: a
    rate_limit: { unit: day, requests_per_unit: 9 }
    descriptors:
      - { key: b, rate_limit: { unit: day, requests_per_unit: 2 } }
      - { key: c }
      - key: x
        value: 1*
        descriptors: [{ key: y, rate_limit: { unit: day, requests_per_unit: 1 } }]
"""
DESCRIPTORS = (
    *("k=v", "k=w", "k=", "k=v k=v", "path=/a", "path=/a/b", "path=/x", "shared=/s1", "shared=/s2", "ban=x"),
    *("free=x", "listed=x", "week=a", "month=a", "year=a", "shadow=a", "reads=a", "lists=a", "none=1"),
    *("a=1", "a=1 b=2", "a=1 c=2", "a=1 z=2", "a=1 x=12 y=1", "a=1 x=2 y=1"),
)
Ask = Callable[[bytes], bytes]
Answer = dict[str, Any]

app = App(name="against_reference", help="Ask the Go service and ours the same, and say where they differ.")


@app.default
def compare(
    binary: Path,
    /,
    *,
    requests: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=1_000_000))] = 1000,
    seed: int = 1,
    variables: Annotated[tuple[str, ...], Parameter(name="--set", consume_multiple=True, negative=())] = (),
) -> int:
    """Compare; exit code 0, 1 if an answer differs, or 2 without the Go service.

    *variables* (NAME=VALUE) are set for both, such as SHADOW_MODE=true, RESPONSE_DYNAMIC_METADATA=true.
    """
    console = Console(highlight=False)
    if not binary.is_file():
        console.print(f"{binary}: no such file; make it with `go install` (see the head of this module)")
        return 2
    differ = 0
    with tempfile.TemporaryDirectory(prefix="compare-") as folder, Processes(Path(folder)) as processes:
        limits = processes.folder / "ratelimit" / "config"
        limits.mkdir(parents=True)
        (limits / "limits.yaml").write_text(LIMITS, "utf-8")
        store = start_server(processes).port
        theirs = _started(processes, [str(binary)], store, variables)
        ours = _started(processes, [sys.executable, "-m", "envoy_ratelimit", "serve"], store, variables)
        for request in _requests(random.Random(seed), requests):  # noqa: S311 - no secret
            payload = request.SerializeToString()
            expected, found = _answer(theirs, payload), _answer(ours, payload)
            _allow_for_no_wait(expected, found)
            _allow_for_headers(expected, found)
            if expected != found:
                differ += 1
                console.print(
                    f"{MessageToDict(request)}\n  theirs {expected}\n  ours   {found}", markup=False
                )
    console.print(f"{requests} requests, seed {seed}: {differ} answers differ")
    return 1 if differ else 0


def _started(processes: Processes, argv: list[str], store: int, variables: Sequence[str]) -> Ask:
    port = free_port()
    environment = {
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"{LOOPBACK}:{store}",
        "USE_STATSD": "false",
        "RUNTIME_ROOT": str(processes.folder),
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "RUNTIME_WATCH_ROOT": "false",
        "GRPC_HOST": LOOPBACK,
        "GRPC_PORT": str(port),
        "HOST": LOOPBACK,
        "PORT": str(free_port()),
        "DEBUG_HOST": LOOPBACK,
        "DEBUG_PORT": str(free_port()),
        "RATELIMIT_STORE_TIMEOUT": "2",
    }
    assignments = [*(f"{name}={value}" for name, value in environment.items()), *variables]
    process: Process = processes.start(Path(argv[0]).name, ["env", *assignments, *argv])
    channel = grpc.insecure_channel(f"{LOOPBACK}:{port}")
    process.until(lambda: _is_ready(channel), "an open port")
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{wire.SERVICE}/{wire.METHOD}")
    return lambda payload: ask(payload, timeout=10)


def _is_ready(channel: grpc.Channel) -> bool | None:
    try:
        grpc.channel_ready_future(channel).result(timeout=1)
    except grpc.FutureTimeoutError:
        return None
    return True


def _requests(chance: random.Random, number: int) -> Iterator[RateLimitRequest]:
    for _ in range(number):
        request = RateLimitRequest(domain=chance.choice(["d"] * 12 + ["other"]))
        for _ in range(chance.choice([1, 1, 1, 2, 2, 3])):
            descriptor = request.descriptors.add()
            for entry in chance.choice(DESCRIPTORS).split(" "):
                key, _, value = entry.partition("=")
                descriptor.entries.add(key=key, value=value)
            if chance.random() < 0.1:
                descriptor.hits_addend.value = chance.choice([0, 1, 2, 3])
        if chance.random() < 0.1:
            request.hits_addend = chance.choice([1, 2, 4])
        yield request


def _answer(ask: Ask, payload: bytes) -> Answer:
    answer: Answer = MessageToDict(RateLimitResponse.FromString(ask(payload)))
    for status in answer.get("statuses", []):
        if "durationUntilReset" in status:
            # Both clocks are this machine's, and both are asked one after the other.
            status["durationUntilReset"] = round(float(status["durationUntilReset"].removesuffix("s")) / 60)
    return answer


def _allow_for_no_wait(theirs: Answer, ours: Answer) -> None:
    """Where waiting does not help, they say the end of the window, and we say nothing."""
    for their, our in zip(theirs.get("statuses", []), ours.get("statuses", []), strict=False):
        if "currentLimit" in our and "durationUntilReset" not in our:
            their.pop("durationUntilReset", None)


def _allow_for_headers(theirs: Answer, ours: Answer) -> None:
    """Envoy lower-cases names; `retry-after` is ours alone, and so is which of several limits the headers are of."""
    counted = [status for status in ours.get("statuses", []) if "currentLimit" in status]
    left = sorted(status.get("limitRemaining", 0) for status in counted)
    for answer in (theirs, ours):
        headers = {
            header["key"].lower(): header["value"] for header in answer.pop("responseHeadersToAdd", [])
        }
        headers.pop("retry-after", None)
        if "ratelimit-reset" in headers:
            headers["ratelimit-reset"] = round(int(headers["ratelimit-reset"]) / 60)
        if len(left) < 2 or left[0] < left[1]:
            answer["headers"] = headers
    if "headers" in ours and "ratelimit-reset" not in ours["headers"]:
        theirs["headers"].pop("ratelimit-reset", None)


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
