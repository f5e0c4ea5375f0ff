"""What is measured: each service alone on each transport that it can run on, and the empty handlers beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from envoy_demo.configs import folder
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Process, Processes
from envoy_demo.services import Service, start_authz, start_ratelimit, start_tap
from envoy_demo.valkey import start_valkey
from tests.bench import empty, payloads, principals, tokens
from tests.bench.load import LoadError, framed

_LIMITS = Path(__file__).with_name("limits.yaml")
_AUTHZ = "/envoy.service.auth.v3.Authorization/Check"
_RATELIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
_TAP = "/envoy_sidecar.tap.WholeStreams/TakeTaps"
_TAP_STREAM = "/envoy.service.tap.v3.TapSinkService/StreamTaps"


@dataclass(frozen=True, slots=True)
class Subject:
    """One running server and the call to measure; *yardstick* is the name of the empty handler it is held against."""

    name: str
    transport: str
    process: Process
    port: int
    path: str
    body: bytes
    yardstick: str = ""

    def check(self) -> None:
        """Make the call once by a real gRPC client, since h2load does not look at grpc-status; raises LoadError."""
        with grpc.insecure_channel(f"{LOOPBACK}:{self.port}") as channel:
            call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(self.path)
            parts = payloads.unframed(self.body)
            try:
                answers = list(call(iter(parts), timeout=10, wait_for_ready=True))
            except grpc.RpcError as error:
                raise LoadError(f"{self.name} on {self.transport}: {error}") from error
        if len(answers) != 1:
            raise LoadError(f"{self.name} on {self.transport}: {len(answers)} answers")


EMPTY, EMPTY_STREAM = "empty", "empty stream"


def start(processes: Processes) -> Iterator[Subject]:
    """Start all servers and yield the subjects, the yardsticks first; every one has answered a call."""
    authz_body = framed([payloads.check_request()])
    ratelimit_body = framed([payloads.rate_limit_request("wide")])
    over_body = framed([payloads.rate_limit_request("narrow")])
    tap_body, stream_body = framed([payloads.taps()]), framed(payloads.tap_stream())
    valkey = start_valkey(processes)
    for transport in ("native", "grpcio"):
        options = ("--transport", transport)
        process, port = _start_empty(processes, transport)
        yield Subject(EMPTY, transport, process, port, empty.UNARY, authz_body)
        if transport == "grpcio":
            yield Subject(EMPTY_STREAM, transport, process, port, empty.STREAM, stream_body)
        authz = _ready(start_authz(processes, folder() / "examples" / "policies", options))
        yield Subject("authz allow", transport, authz.process, authz.port, _AUTHZ, authz_body, EMPTY)
        named = _ready(
            start_authz(processes, principals.policies(processes.folder / f"named-{transport}"), options)
        )
        yield Subject("authz principal", transport, named.process, named.port, _AUTHZ, authz_body, EMPTY)
        policies, token = tokens.with_authentication(processes.folder / f"jwt-{transport}")
        body = framed([payloads.check_request(token)])
        by_token = _ready(start_authz(processes, policies, options))
        yield Subject("authz jwt", transport, by_token.process, by_token.port, _AUTHZ, body, EMPTY)
        memory = _ready(start_ratelimit(processes, _LIMITS, options=options))
        for name, body in (("memory", ratelimit_body), ("memory, over", over_body)):
            yield Subject(
                f"ratelimit {name}", transport, memory.process, memory.port, _RATELIMIT, body, EMPTY
            )
        if transport == "native":
            # As if no request had come before.
            reading = _ready(
                start_ratelimit(processes, _LIMITS, options=(*options, "--remember-requests", "0"))
            )
            yield Subject(
                "ratelimit memory, new", transport, reading.process, reading.port, _RATELIMIT, ratelimit_body, EMPTY
            )  # fmt: skip
        patient = (*options, "--store-timeout", "1")
        shared = _ready(start_ratelimit(processes, _LIMITS, valkey.url, patient))
        yield Subject(
            "ratelimit redis", transport, shared.process, shared.port, _RATELIMIT, ratelimit_body, EMPTY
        )
        if transport == "native":
            # What remembering refusals is worth.
            asking = _ready(
                start_ratelimit(processes, _LIMITS, valkey.url, (*patient, "--store-denials", "0"))
            )
            for name, service in (("over", shared), ("asked", asking)):
                yield Subject(
                    f"ratelimit redis, {name}", transport, service.process, service.port, _RATELIMIT, over_body, EMPTY
                )  # fmt: skip
        tap = _ready(start_tap(processes, processes.folder / f"tap-{transport}", options))
        yield Subject("tap exchange", transport, tap.process, tap.port, _TAP, tap_body, EMPTY)
        if transport == "grpcio":
            yield Subject(
                "tap stream", transport, tap.process, tap.port, _TAP_STREAM, stream_body, EMPTY_STREAM
            )


def _start_empty(processes: Processes, transport: str) -> tuple[Process, int]:
    port = free_port()
    argv = [sys.executable, "-m", "tests.bench.empty", transport, str(port)]
    process = processes.start(f"empty-{transport}", argv)
    process.until_logged("ready")
    return process, port


def _ready(service: Service) -> Service:
    service.wait_ready()
    return service
