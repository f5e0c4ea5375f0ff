"""What a service is done with is gone at once: no cycle keeps it until the cycle collector's rarest walk comes by."""

import gc
import signal
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest

from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_ratelimit.config.inline import load_text
from envoy_ratelimit.core.fallback import LocalShare
from envoy_ratelimit.core.limiter import FailurePolicy
from envoy_ratelimit.core.rule import Rule
from envoy_ratelimit.core.rules import Rules
from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.handler import RateLimitHandler
from envoy_ratelimit.observe.decision_log import DecisionLog, DecisionLogOptions
from envoy_ratelimit.observe.metrics import RuleMetrics, known_of
from envoy_ratelimit.observe.observer import Observer
from envoy_ratelimit.stores import open_store
from envoy_ratelimit.stores.address import Endpoint
from envoy_ratelimit.stores.connection import connect
from envoy_ratelimit.stores.keeper import Keeper
from envoy_ratelimit.stores.lane import ScriptCall
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitRequest
from envoy_sidecar.transport.port import Call
from tests.ratelimit.servers import Server, start_server

LIMITS = """
domain: {domain}
descriptors:
  - {{ key: user, rate_limit: {{ name: each, unit: day, requests_per_unit: 10 }} }}
  - {{ key: all, rate_limit: {{ unit: day, requests_per_unit: 10, replaces: [{{ name: each }}] }} }}
"""
TIMEOUT_S = 0.02
PATIENT_S = 10
LEFT_BYTES = 8192
"""How much may stay of a connection that was closed, until the cycle collector comes by."""

_T = TypeVar("_T")


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Processes(tmp_path) as processes:
        yield start_server(processes)


class Closing:
    """What a keeper can keep."""

    def close(self) -> None:
        pass


class DownStore:
    """A store that never decides."""

    def take(self, batch: Sequence[Sequence[Take]]) -> Sequence[Sequence[tuple[bool, int, int]]]:
        raise StoreError("connection", f"no store for {len(batch)} requests")

    def close(self) -> None:
        pass


def rules(domain: str) -> Rules:
    return load_text(LIMITS.format(domain=domain)).rules


def call(domain: str) -> Call:
    message = RateLimitRequest(domain=domain)
    message.descriptors.add().entries.add(key="user", value="ann")
    message.descriptors.add().entries.add(key="all", value="x")
    return Call(message.SerializeToString())


def living(kind: type[_T]) -> list[_T]:
    return [each for each in gc.get_objects() if isinstance(each, kind)]


@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_a_batch_that_the_store_did_not_decide_is_gone_when_it_was_answered(
    server: Server, fault: str
) -> None:
    store = open_store(server.url, timeout_s=TIMEOUT_S, denials_s=0)
    handler = RateLimitHandler(rules("edge"), store)
    try:
        while not handler([call("edge")]) or handler.outage.why:
            pass
        assert living(ScriptCall) == []
        if fault == "killed":
            server.process.kill()
        else:
            server.process.signal(signal.SIGSTOP)
        for _ in range(20):
            handler([call("edge")])
        assert handler.store_failures.counts
        assert living(ScriptCall) == []
        assert living(StoreError) == []
    finally:
        store.close()


def test_a_connection_that_was_closed_leaves_little(server: Server) -> None:
    def opened_and_closed(times: int) -> None:
        for _ in range(times):
            connect(Endpoint(LOOPBACK, server.port), timeout_s=PATIENT_S).close()

    tracemalloc.start()
    try:
        opened_and_closed(2)
        before, _ = tracemalloc.get_traced_memory()
        opened_and_closed(20)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20 * LEFT_BYTES


def test_an_attempt_that_failed_holds_nothing_of_the_one_that_did_not() -> None:
    failure = StoreError("connection", "not yet")
    results: Iterator[StoreError | Closing] = iter([failure, Closing()])

    def make() -> Closing:
        result = next(results)
        if isinstance(result, StoreError):
            raise result
        return result

    keeper = Keeper("server", make)
    keeper.start()
    thread = keeper._maker
    assert thread is not None
    thread.join(PATIENT_S)
    assert isinstance(keeper.get(time.monotonic()), Closing)
    assert failure.__traceback__ is not None
    frame: FrameType | None = failure.__traceback__.tb_frame
    held: list[object] = []
    while frame is not None:
        held += frame.f_locals.values()
        frame = frame.f_back
    assert not [each for each in held if isinstance(each, Closing)]


async def test_no_rule_outlives_its_configuration() -> None:
    metrics = RuleMetrics()
    observer = Observer(metrics, DecisionLog(DecisionLogOptions()))
    local = LocalShare(MemoryStore())
    handler = RateLimitHandler(
        rules("old"),
        DownStore(),
        on_store_failure=FailurePolicy.LOCAL,
        local=local,
        observe=observer.observe,
    )
    metrics.hold(known_of(handler.rules))
    for _ in range(20):
        handler([call("old")])
    await observer.digest()
    assert [top.domain for top in observer.top(5)["denied"]] == ["old"]
    handler.swap(rules("new"))
    metrics.hold(known_of(handler.rules))
    handler([call("new")])
    domains = {rule.domain for rule in living(Rule)}
    assert "new" in domains
    assert "old" not in domains
