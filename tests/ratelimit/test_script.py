"""The script for Redis answers to the microsecond what the memory store does, whatever the algorithm and the mode."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envoy_demo.valkey import Valkey
from envoy_ratelimit.core.algorithms import Algorithm, Spec, make_spec
from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, Take
from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, MICROSECONDS, BucketSpec, Outcome
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.stores.packing import SCRIPT, pack, unpack

YEAR_US = 365 * 86_400 * MICROSECONDS
_NAMES = count()


class Script:
    """The script alone, on a real server, which remembers what the server's clock said."""

    def __init__(self, port: int) -> None:
        self.client: Any = redis.Redis(port=port)
        self.now_us = 0

    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        keys, argument = pack(batch)
        reply = self.client.execute_command("EVAL", SCRIPT, len(keys), *keys, argument)
        assert isinstance(reply, list)
        self.now_us = reply[0]
        return unpack(batch, reply)


@pytest.fixture
def script(valkey: Valkey) -> Iterator[Script]:
    opened = Script(valkey.port)
    yield opened
    opened.client.close()


def specs(*, debt: bool) -> list[Spec]:
    """Buckets that fill and windows that end while the test runs, and large ones."""
    found: list[Spec] = [
        BucketSpec.of(1000, MICROSECONDS, 20, debt=debt),
        BucketSpec.of(3, MICROSECONDS, debt=debt),
        BucketSpec.of(2**32 - 1, YEAR_US, 30, debt=debt),
        BucketSpec.of(0, MICROSECONDS, debt=debt),
    ]
    for algorithm in (Algorithm.FIXED_WINDOW, Algorithm.SLIDING_WINDOW):
        found += [
            make_spec(algorithm, limit, period_us, debt=debt)
            for limit, period_us in ((20, 700), (30, 2_003), (7, 90_000), (15, 100 * YEAR_US), (0, 1000))
        ]
    return found


SPECS = (*specs(debt=False), *specs(debt=True))
MODES = (0, ENFORCED, QUOTA, KEPT, ENFORCED | KEPT, QUOTA | KEPT)
TAKES = st.tuples(st.sampled_from(range(len(SPECS))), st.integers(-6, 33), st.sampled_from(MODES))


def take(name: str, which: int, cost: int, mode: int) -> Take:
    """Return a take; one bucket has one mode, and one with debt keeps what it is charged."""
    spec = SPECS[which]
    return f"{name}-{which}-{mode}", spec, cost, mode | KEPT if spec.debt else mode


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    batches=st.lists(st.lists(st.lists(TAKES, min_size=1, max_size=5), min_size=1, max_size=5), max_size=12)
)
def test_it_answers_what_the_memory_store_does(
    script: Script, batches: list[list[list[tuple[int, int, int]]]]
) -> None:
    name = f"script-{next(_NAMES)}"
    memory = MemoryStore(clock=lambda: script.now_us)
    for batch in batches:
        takes = [[take(name, *wish) for wish in wishes] for wishes in batch]
        assert script.take(takes) == memory.take(takes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 2**32 - 1),
    previous=st.integers(0, 2**32 - 1),
    used=st.integers(0, 2**32 - 1),
    cost=st.integers(0, 2**32),
    period_us=st.integers(2**33, MAX_SPAN_US),
)
def test_a_sliding_window_is_exact_beyond_what_a_double_holds(  # noqa: PLR0917 - drawn
    script: Script, limit: int, previous: int, used: int, cost: int, period_us: int
) -> None:
    spec = make_spec(Algorithm.SLIDING_WINDOW, limit, period_us)
    (script.now_us,) = [at * MICROSECONDS + part for at, part in [script.client.time()]]
    start_us = script.now_us - script.now_us % period_us
    name = f"exact-{next(_NAMES)}"
    script.client.set(name, f"{start_us}:{used}:{previous}")
    # The same state, brought about in the memory store by takes that none can refuse.
    unbounded = make_spec(Algorithm.SLIDING_WINDOW, 2**40, period_us)
    now_us = [start_us - period_us]
    memory = MemoryStore(clock=lambda: now_us[0])
    if start_us > period_us:
        memory.take([[(name, unbounded, previous, 1)]] if previous else [])
    else:
        script.client.set(name, f"{start_us}:{used}:0")
    now_us[0] = start_us
    memory.take([[(name, unbounded, used, 1)]] if used else [])
    answer = script.take([[(name, spec, cost, 1)]])
    now_us[0] = script.now_us
    assert answer == memory.take([[(name, spec, cost, 1)]])


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.capacity == 15], ids=repr)
def test_a_window_expires_when_it_is_as_new(script: Script, spec: Spec) -> None:
    name = f"expiring-{next(_NAMES)}"
    script.take([[(name, spec, 5, 1)]])
    left_ms = script.client.pttl(name)
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 2 * 100 * YEAR_US // 1000 + 1


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.capacity == 15 and not spec.debt], ids=repr)
def test_what_changes_nothing_leaves_nothing_behind(script: Script, spec: Spec) -> None:
    name = f"nothing-{next(_NAMES)}"
    script.take([[(name, spec, 0, 1)], [(name, spec, 16, 1)], [(name, spec, -3, 1)]])
    assert script.client.exists(name) == 0
    script.take([[(name, spec, 4, 1)], [(name, spec, -4, 1)]])
    assert script.client.exists(name) == 0


@pytest.mark.parametrize(
    "value", ["nonsense", "", "-5", "1:2:3", "nan", "inf", "9" * 30, "9" * 30 + ":7:" + "9" * 30]
)
@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_a_value_that_somebody_else_wrote_does_no_harm(script: Script, spec: Spec, value: str) -> None:
    name = f"foreign-{next(_NAMES)}"
    script.client.set(name, value)
    for cost in (1, 0, -1, 3):
        allowed, remaining, _ = script.take([[(name, spec, cost, 1)]])[0][0]
        assert isinstance(allowed, bool)
        assert 0 <= remaining <= spec.capacity


def test_a_window_of_a_clock_that_went_back_is_this_one_and_ends(script: Script) -> None:
    spec = make_spec(Algorithm.FIXED_WINDOW, 15, YEAR_US)
    name = f"future-{next(_NAMES)}"
    script.take([[(name, spec, 0, 1)]])
    start_us = script.now_us - script.now_us % YEAR_US
    script.client.set(name, f"{start_us + 10 * YEAR_US}:15")
    assert script.take([[(name, spec, 1, 1)]])[0][0][:2] == (False, 0)
    assert script.client.get(name) == f"{start_us}:15".encode()
