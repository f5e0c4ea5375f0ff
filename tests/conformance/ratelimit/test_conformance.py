"""The conformance cases, which are data: every row of the facts, with each algorithm on each store."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from envoy_demo.processes import Processes
from envoy_ratelimit.config import load_rules
from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.rules import Defaults
from envoy_ratelimit.core.store import BucketStore
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.stores.names import Spread
from envoy_sidecar.config.findings import InvalidConfigurationError
from tests.conformance.ratelimit.harness import (
    START_US,
    Bench,
    Clock,
    ServedStore,
    by_algorithm,
    differs,
    plain,
    request_of,
    steps,
)
from tests.ratelimit.servers import redis_binary, start_cluster, start_sentinels, start_server

HERE = Path(__file__).parent
SERVERS = {
    "valkey": "valkey",
    "denials": "valkey",
    "redis": "debian_redis",
    "sentinel": "sentinel",
    "cluster": "cluster",
    "spread": "cluster",
}
"""The fixture that starts the servers of a store. `denials` remembers refusals; with `spread`, a request's buckets lie apart."""
STORES = ("memory", *SERVERS)


def read(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file.read_text("utf-8"))


CASES: list[dict[str, Any]] = [
    case for file in sorted((HERE / "cases").glob("*.yaml")) for case in read(file)
]
DECIDED = [case for case in CASES if "steps" in case]
CHECKED = [case for case in CASES if "files" in case]


Servers = tuple[str, Sequence[int]]
"""The URL of a store, and the ports of its servers."""


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="module")
def valkey(processes: Processes) -> Servers:
    server = start_server(processes)
    return server.url, [server.port]


@pytest.fixture(scope="module")
def debian_redis(processes: Processes) -> Servers:
    server = start_server(processes, binary=redis_binary())
    return server.url, [server.port]


@pytest.fixture(scope="module")
def cluster(processes: Processes) -> Servers:
    started = start_cluster(processes)
    return started.url, [node.port for node in started.nodes]


@pytest.fixture(scope="module")
def sentinel(processes: Processes) -> Servers:
    """Sentinels that are not to fail over; the buckets are on the primary that they name."""
    watched = start_sentinels(processes, down_after_ms=60_000)
    return watched.url, [watched.primary.port]


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Callable[[str], ServedStore]]:
    """Return what gives the store of a name, which is opened once."""
    with ExitStack() as opened:
        patch = opened.enter_context(pytest.MonkeyPatch.context())

        @cache
        def open_once(name: str) -> ServedStore:
            url, ports = request.getfixturevalue(SERVERS[name])
            spread: Spread = "bucket" if name == "spread" else "domain"
            store = ServedStore(url, ports, patch, denials=name == "denials", spread=spread)
            opened.callback(store.close)
            return store

        yield open_once


def every() -> list[Any]:
    return [
        pytest.param(case, algorithm, store, id=f"{case['name']}-{algorithm}-{store}")
        for case in DECIDED
        for algorithm in Algorithm
        if algorithm in case.get("algorithms", Algorithm)
        for store in STORES
    ]


def begun(name: str, served: Callable[[str], ServedStore], clock: Clock) -> BucketStore:
    """Return the store of a name, empty and on a clock."""
    if name == "memory":
        return MemoryStore(clock=clock)
    store = served(name)
    store.begin(clock)
    return store


@pytest.mark.parametrize(("case", "algorithm", "store"), every())
def test_case(
    case: dict[str, Any],
    algorithm: Algorithm,
    store: str,
    served: Callable[[str], ServedStore],
) -> None:
    clock = Clock()
    bench = Bench(case, begun(store, served, clock), algorithm, clock)
    for number, step in enumerate(steps(case)):
        clock.now_us = START_US + round(step.get("at", 0) * 1_000_000)
        bench.store.is_down = step.get("store") == "down"
        answer = plain(bench.ask(request_of(step)))
        expected = step["expect"]
        wanted = by_algorithm({"code": expected} if isinstance(expected, str) else expected, algorithm)
        assert not (why := differs(answer, wanted)), f"step {number}: {step['ask']}: {why}"
    labels = {label for _, label, _ in bench.metrics.decisions.counts}
    assert "labels" not in case or labels == set(case["labels"])


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case["name"])
def test_configuration(case: dict[str, Any], tmp_path: Path) -> None:
    for name, text in case["files"].items():
        (tmp_path / name).write_text(text, "utf-8")
    defaults = Defaults(**case.get("defaults", {}))
    findings = case.get("findings", [])
    try:
        loaded = load_rules([tmp_path], strict=True, merge=case.get("merge", False), defaults=defaults)
    except InvalidConfigurationError as error:
        found = [str(finding).removeprefix(f"{tmp_path}/") for finding in error.findings]
        assert len(found) == len(findings), found
        assert all(part in one for part, one in zip(findings, found, strict=True)), found
    else:
        assert not findings
        assert [f"{rule['path']} {rule['limit']}" for rule in loaded.rules.describe()] == case["limits"]


def test_every_row_of_the_facts_has_a_case() -> None:
    rows = [row for table in read(HERE / "rows.yaml").values() for row in table]
    covered = {row for case in CASES for row in case["rows"]}
    assert covered == set(rows)
    assert len(rows) == len(set(rows))


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case["name"] for case in CASES]
    assert len(names) == len(set(names))
