"""Steady load on a running service, with every answer kept: nothing may be lost, slow or an RPC error."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

import grpc
import httpx

from envoy_demo.ports import LOOPBACK
from envoy_demo.services import Service
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
CALLERS = 12
LIMITS = """
domain: edge
descriptors:
  - key: wide
    rate_limit: { unit: day, requests_per_unit: 100000000 }
  - key: narrow
    rate_limit: { unit: day, requests_per_unit: 3000 }
  - key: small
    rate_limit: { unit: day, requests_per_unit: 1000 }
"""


def request(key: str, value: str, hits: int | None = None) -> bytes:
    descriptor = RateLimitDescriptor(entries=[RateLimitDescriptor.Entry(key=key, value=value)])
    if hits is not None:
        descriptor.hits_addend.value = hits
    return RateLimitRequest(domain="edge", descriptors=[descriptor]).SerializeToString()


@dataclass(slots=True)
class Answers:
    """What came back: each call once."""

    sent: int = 0
    errors: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    stalled_s: float = 0.0
    """The longest that the service took meanwhile to say that it lives, which needs neither limits nor store."""
    decided: int = 0
    """By the store, whatever it said."""
    admitted: int = 0
    """By the store."""
    undecided: int = 0
    passed: int = 0
    """By the store or by the failure policy."""

    @property
    def in_flight(self) -> int:
        """How many calls have no answer yet."""
        return self.sent - self.decided - self.undecided - len(self.errors)

    def add(self, payload: bytes, took_s: float) -> None:
        answer = RateLimitResponse.FromString(payload)
        passed = answer.overall_code == RateLimitResponse.OK
        self.slowest_s = max(self.slowest_s, took_s)
        self.passed += passed
        if answer.statuses[0].HasField("current_limit"):
            self.decided += 1
            self.admitted += passed
        else:
            self.undecided += 1


class Load:
    """So many callers, each with a pause between its calls; `answers` are those since the last `renew`."""

    def __init__(
        self, service: Service, body: bytes, *, callers: int = CALLERS, pause_s: float = 0.004
    ) -> None:
        self._service = service
        self._body = body
        self._callers = callers
        self._pause_s = pause_s
        self._ended = asyncio.Event()
        self._came = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.answers = Answers()

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(f"{LOOPBACK}:{self._service.port}")
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(METHOD)
        await self.ask(self._body)
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._callers)]
        self._tasks.append(asyncio.create_task(self._watch_the_machine()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        await asyncio.gather(*self._tasks)
        await self._channel.close()

    async def ask(self, body: bytes) -> RateLimitResponse:
        return RateLimitResponse.FromString(await self._call(body, timeout=10, wait_for_ready=True))

    async def renew(self) -> Answers:
        """Count anew, and return what was counted before, once the last of those calls is answered."""
        answers, self.answers = self.answers, Answers()
        async with asyncio.timeout(20):
            while answers.in_flight:
                self._came.clear()
                await self._came.wait()
        return answers

    async def until_decided(self, seconds: float = 20) -> None:
        """Return when the store decides again, and goes on doing so."""
        async with asyncio.timeout(seconds):
            before = self.answers
            while True:
                decided, undecided = before.decided, before.undecided
                await asyncio.sleep(0.25)
                if before.decided > decided and before.undecided == undecided:
                    return

    async def until_undecided(self, seconds: float = 20) -> None:
        await self.until(lambda answers: answers.undecided > 0, seconds)

    async def until_refused(self, seconds: float = 30) -> None:
        """Return when the store has refused somebody."""
        await self.until(lambda answers: answers.admitted < answers.decided, seconds)

    async def until(self, condition: Callable[[Answers], bool], seconds: float = 20) -> None:
        """Return when *condition* holds; it is looked at after each answer."""
        async with asyncio.timeout(seconds):
            while not condition(self.answers):
                self._came.clear()
                await self._came.wait()

    async def _run(self) -> None:
        while not self._ended.is_set():
            answers = self.answers
            answers.sent += 1
            started_s = monotonic()
            try:
                payload = await self._call(self._body, timeout=10)
            except grpc.aio.AioRpcError as error:
                answers.errors.append(str(error.code()))
            else:
                answers.add(payload, monotonic() - started_s)
            self._came.set()
            await asyncio.sleep(self._pause_s)

    async def _watch_the_machine(self) -> None:
        async with httpx.AsyncClient(timeout=20) as client:
            while not self._ended.is_set():
                answers = self.answers
                started_s = monotonic()
                await client.get(f"http://{LOOPBACK}:{self._service.admin_port}/livez")
                stalled_s = monotonic() - started_s
                for each in (answers, self.answers):
                    each.stalled_s = max(each.stalled_s, stalled_s)
                await asyncio.sleep(0.01)


def threads_and_files(service: Service) -> tuple[int, int]:
    """Return how many threads and file descriptors a service has."""
    folder = Path(f"/proc/{service.process.pid}")
    return len(list((folder / "task").iterdir())), len(list((folder / "fd").iterdir()))
