"""What a service is done with is gone at once: no cycle keeps it until the cycle collector's rarest walk comes by."""

import gc
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

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
        while not handler([call("edge")]) or handler.store_failure:
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
