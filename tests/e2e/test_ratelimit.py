"""ratelimit behind a real Envoy: the limit is crossed exactly where it should be, whoever counts."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from envoy_demo import configs
from envoy_demo.client import Response, get
from envoy_demo.envoy import Envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import start_ratelimit
from envoy_demo.upstream import Upstream
from envoy_demo.valkey import Valkey
from tests.e2e.edges import AT_ONCE, RATELIMIT, SERVED, edge

# By the day, so that nothing is refilled however slow the machine is.
LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 5 }
  - key: user
    value: partner
    rate_limit: { unit: day, requests_per_unit: 7 }
  - key: user
    value: banned
    rate_limit: { unit: day, requests_per_unit: 0 }
  - key: user
    value: crowd
    rate_limit: { unit: day, requests_per_unit: 20 }
"""
DAY_SECONDS = 86_400

Start = Callable[[str], Envoy]


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("limits") / "limits.yaml"
    file.write_text(LIMITS)
    return file


@pytest.fixture(scope="module")
def start(of_module: Processes, upstream: Upstream, limits: Path) -> Start:
    """Start one more ratelimit process, with an Envoy of its own, on the store given by URL."""

    def started(store: str) -> Envoy:
        service = start_ratelimit(of_module, limits, store, (*AT_ONCE, "--store-timeout", "5"))
        service.wait_ready()
        return edge(of_module, upstream, RATELIMIT, [service], configs.be_patient)

    return started


@pytest.fixture(scope="module", params=["memory", "redis"])
def envoy(request: pytest.FixtureRequest, start: Start) -> Envoy:
    if request.param == "memory":
        return start("memory:")
    valkey: Valkey = request.getfixturevalue("valkey")
    return start(f"{valkey.url}/1")


def figures(answer: Response) -> tuple[int, str, int]:
    """Return status, limit and remaining."""
    return (
        answer.status,
        answer.headers["x-ratelimit-limit"],
        int(answer.headers["x-ratelimit-remaining"]),
    )


def test_the_limit_is_crossed_exactly_where_it_should_be(envoy: Envoy) -> None:
    before = envoy.stat(SERVED)
    answers = [get(envoy.port, "/", x_user="alice") for _ in range(7)]
    limit = f"5, 5;w={DAY_SECONDS}"
    passed = [(200, limit, left) for left in (4, 3, 2, 1, 0)]
    assert [figures(answer) for answer in answers] == [*passed, (429, limit, 0), (429, limit, 0)]
    assert envoy.stat(SERVED) == before + 5, "a refused request reached the upstream"


def test_a_refusal_says_when_the_next_one_passes(envoy: Envoy) -> None:
    answers = [get(envoy.port, "/", x_user="bob") for _ in range(6)]
    assert answers[-1].status == 429
    # A fifth of a day for one, less what has gone by since the first.
    seconds = int(answers[-1].headers["x-ratelimit-reset"])
    assert DAY_SECONDS // 5 - 120 < seconds <= DAY_SECONDS // 5
    assert answers[-1].headers["x-envoy-ratelimited"] == "true"


def test_each_value_has_a_bucket_of_its_own_and_may_have_a_limit_of_its_own(envoy: Envoy) -> None:
    statuses = {
        user: Counter(get(envoy.port, "/", x_user=user).status for _ in range(8))
        for user in ("carol", "partner", "banned")
    }
    assert statuses == {"carol": {200: 5, 429: 3}, "partner": {200: 7, 429: 1}, "banned": {429: 8}}


def test_without_a_descriptor_that_has_a_limit_nothing_is_limited_or_claimed(envoy: Envoy) -> None:
    answers = [get(envoy.port, "/") for _ in range(8)]
    assert {answer.status for answer in answers} == {200}
    assert not [name for answer in answers for name in answer.headers if "ratelimit" in name]


def test_requests_at_the_same_time_are_admitted_exactly_up_to_the_limit(envoy: Envoy) -> None:
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(lambda _: get(envoy.port, "/", x_user="crowd").status, range(60)))
    assert statuses == {200: 20, 429: 40}


def test_two_processes_on_one_valkey_admit_together_what_one_would(start: Start, valkey: Valkey) -> None:
    envoys = [start(f"{valkey.url}/2"), start(f"{valkey.url}/2")]
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(
            pool.map(lambda turn: get(envoys[turn % 2].port, "/", x_user="crowd").status, range(60))
        )
    assert statuses == {200: 20, 429: 40}
    # Not one was let through for want of an answer, and both processes answered.
    decided = [
        envoy.stat("cluster.upstream.ratelimit.ok") + envoy.stat("cluster.upstream.ratelimit.over_limit")
        for envoy in envoys
    ]
    assert decided == [30, 30]


def test_a_bucket_in_valkey_outlives_the_process_that_filled_it(start: Start, valkey: Valkey) -> None:
    first = start(f"{valkey.url}/3")
    assert [get(first.port, "/", x_user="dave").status for _ in range(3)] == [200] * 3
    second = start(f"{valkey.url}/3")
    assert [get(second.port, "/", x_user="dave").status for _ in range(3)] == [200, 200, 429]


def test_a_grpc_caller_is_refused_in_the_form_of_grpc(envoy: Envoy) -> None:
    with grpc.insecure_channel(f"{LOOPBACK}:{envoy.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/shop.Orders/List")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", metadata=(("x-user", "banned"),), timeout=10)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
