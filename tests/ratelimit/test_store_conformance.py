"""What every bucket store must do, held against each of them: in memory, and on a real Valkey."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest
import redis

from envoy_demo.valkey import Valkey
from envoy_ratelimit.core.rule import Rate, Unit, bucket_of
from envoy_ratelimit.core.store import BucketStore, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, BucketSpec, Outcome
from envoy_ratelimit.stores import open_store
from envoy_ratelimit.stores.memory import MemoryStore

HOUR_US = 3600 * MICROSECONDS
SIX_HOURS = BucketSpec.of(6, 6 * HOUR_US)
"""Six tokens, one an hour: nothing comes back while a test runs."""
BAN = bucket_of(Rate(0, Unit.HOUR))
A_MINUTE_US = 60 * MICROSECONDS
_NAMES = count()


class Bench:
    """A store, a clock that can be moved forward, and bucket names that no other test has."""

    def __init__(self, store: BucketStore, advance: Callable[[int], None]) -> None:
        self.store = store
        self.advance = advance
        self.name = f"bucket-{next(_NAMES)}"

    def wish(
        self, cost: int = 1, name: str = "", spec: BucketSpec = SIX_HOURS, *, enforced: bool = True
    ) -> Take:
        return self.name + name, spec, cost, enforced

    def ask(self, *takes: Take) -> Sequence[Outcome]:
        (outcomes,) = self.store.take([takes])
        return outcomes

    def remaining(self, name: str = "") -> int:
        return self.ask(self.wish(0, name))[0][1]


def on_valkey(valkey: Valkey) -> Iterator[Bench]:
    client: redis.Redis = redis.Redis(port=valkey.port, decode_responses=True)
    store = open_store(valkey.url, timeout_s=10)

    def advance(by_us: int) -> None:
        # The server's clock is its own, so instead all buckets are moved into the past.
        for key in client.scan_iter("bucket-*"):
            whole, colon, fraction = str(client.get(key)).partition(":")
            client.set(key, f"{int(whole) - by_us}{colon}{fraction}", keepttl=True)

    yield Bench(store, advance)
    store.close()
    client.close()


def in_memory() -> Bench:
    now_us = [MICROSECONDS]

    def advance(by_us: int) -> None:
        now_us[0] += by_us

    return Bench(MemoryStore(clock=lambda: now_us[0]), advance)


@pytest.fixture(params=["memory", "valkey"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "memory":
        yield in_memory()
    else:
        yield from on_valkey(request.getfixturevalue("valkey"))


def near(reset_us: int | None, expected_us: int) -> bool:
    """Tell whether a reset is right on a clock that moved a little since the bucket was used first."""
    return reset_us is not None and expected_us - A_MINUTE_US <= reset_us <= expected_us


def test_a_new_bucket_is_full_and_admits_exactly_its_capacity(bench: Bench) -> None:
    outcomes = [bench.ask(bench.wish())[0] for _ in range(7)]
    assert [allowed for allowed, _, _ in outcomes] == [True] * 6 + [False]
    assert [remaining for _, remaining, _ in outcomes] == [5, 4, 3, 2, 1, 0, 0]
    assert near(outcomes[0][2], HOUR_US)
    assert near(outcomes[5][2], 6 * HOUR_US)
    assert near(outcomes[6][2], HOUR_US)


def test_it_fills_at_its_rate_up_to_its_capacity(bench: Bench) -> None:
    bench.ask(bench.wish(6))
    bench.advance(HOUR_US)
    assert [bench.ask(bench.wish())[0][0] for _ in range(2)] == [True, False]
    bench.advance(3 * HOUR_US)
    assert bench.remaining() == 3
    bench.advance(1000 * HOUR_US)
    assert bench.ask(bench.wish(6))[0][:2] == (True, 0)


def test_a_cost_above_what_is_left_takes_nothing_and_names_its_wait(bench: Bench) -> None:
    bench.ask(bench.wish(4))
    allowed, remaining, reset_us = bench.ask(bench.wish(5))[0]
    assert (allowed, remaining) == (False, 2)
    assert near(reset_us, 3 * HOUR_US)
    assert bench.ask(bench.wish(2))[0][:2] == (True, 0)


@pytest.mark.parametrize("cost", [7, 2**32, 10**18])
def test_a_cost_above_the_capacity_never_passes(bench: Bench, cost: int) -> None:
    assert bench.ask(bench.wish(cost)) == [(False, 6, None)]
    assert bench.remaining() == 6


def test_a_peek_changes_nothing(bench: Bench) -> None:
    assert bench.ask(bench.wish(0)) == [(True, 6, 0)]
    bench.ask(bench.wish(5))
    assert [bench.remaining() for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(("given_back", "remaining"), [(1, 3), (4, 6), (100, 6), (10**18, 6)])
def test_what_is_given_back_is_there_again_up_to_the_capacity(
    bench: Bench, given_back: int, remaining: int
) -> None:
    bench.ask(bench.wish(4))
    assert bench.ask(bench.wish(-given_back))[0][:2] == (True, remaining)
    assert bench.remaining() == remaining


@pytest.mark.parametrize("cost", [-1, 0, 1])
def test_a_ban_refuses_every_cost(bench: Bench, cost: int) -> None:
    assert bench.ask(bench.wish(cost, spec=BAN)) == [(False, 0, None)]


def test_a_refused_request_is_charged_nowhere(bench: Bench) -> None:
    bench.ask(bench.wish(6, "full"))
    first, second, third = bench.ask(bench.wish(2, "before"), bench.wish(1, "full"), bench.wish(3, "after"))
    assert first == (True, 6, 0)
    assert second[:2] == (False, 0)
    assert third == (True, 6, 0)
    assert [bench.remaining(name) for name in ("before", "full", "after")] == [6, 0, 6]


def test_a_take_that_is_not_enforced_refuses_nobody(bench: Bench) -> None:
    bench.ask(bench.wish(6, "shadow"))
    shadow, other = bench.ask(bench.wish(1, "shadow", enforced=False), bench.wish(1, "other"))
    assert shadow[:2] == (False, 0)
    assert other[:2] == (True, 5)


def test_a_take_that_is_not_enforced_is_charged_if_its_bucket_allows(bench: Bench) -> None:
    assert bench.ask(bench.wish(2, enforced=False))[0][:2] == (True, 4)
    assert bench.remaining() == 4


def test_takes_of_a_request_on_one_bucket_see_each_other(bench: Bench) -> None:
    assert [outcome[1] for outcome in bench.ask(bench.wish(1), bench.wish(2), bench.wish(-1))] == [5, 3, 4]
    assert bench.remaining() == 4
    assert [outcome[0] for outcome in bench.ask(bench.wish(3), bench.wish(2))] == [True, False]
    assert bench.remaining() == 4


def test_requests_of_a_batch_are_decided_in_order(bench: Bench) -> None:
    outcomes = bench.store.take([[bench.wish(4)], [bench.wish(4), bench.wish(1, "x")], [bench.wish(2)], []])
    assert [[outcome[:2] for outcome in one] for one in outcomes] == [
        [(True, 2)],
        [(False, 2), (True, 6)],
        [(True, 0)],
        [],
    ]
    assert bench.remaining("x") == 6


def test_a_batch_of_nothing_is_nothing(bench: Bench) -> None:
    assert bench.store.take([]) == []
    assert bench.store.take([[], []]) == [[], []]


def test_a_large_batch_is_decided_whole(bench: Bench) -> None:
    batch = [[bench.wish(2, str(number % 700)), bench.wish(1, f"{number % 700}.")] for number in range(2800)]
    outcomes = bench.store.take(batch)
    assert [one[0][0] for one in outcomes] == [True] * 2100 + [False] * 700


@pytest.mark.parametrize("name", ["", " ", "\x00", "é", "a b\r\nSET x 1", "x" * 100_000])
def test_a_bucket_may_have_any_name(bench: Bench, name: str) -> None:
    assert bench.ask(bench.wish(2, name))[0][:2] == (True, 4)
    assert bench.remaining(name) == 4


@pytest.mark.parametrize(
    "rate", [Rate(2**32 - 1, Unit.YEAR), Rate(7, Unit.YEAR), Rate(2**32 - 1, Unit.SECOND)]
)
def test_the_largest_rates_are_exact(bench: Bench, rate: Rate) -> None:
    spec = bucket_of(rate)
    assert bench.ask(bench.wish(spec.capacity, spec=spec))[0][0]
    assert bench.ask(bench.wish(-spec.capacity, spec=spec)) == [(True, spec.capacity, 0)]
