"""What every bucket store must do, with every algorithm, held against each store.

In memory, on Valkey, on Debian's Redis 7, on the primary that Sentinels name, and on three nodes of a cluster, where a
request's buckets lie together or, with `spread`, apart.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import pytest
import redis

from envoy_demo.valkey import Valkey
from envoy_ratelimit.core.algorithms import Algorithm, Spec, make_spec
from envoy_ratelimit.core.rule import Rate, Unit, bucket_of
from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, BucketStore, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, Outcome
from envoy_ratelimit.stores import DenialCache, open_store
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.stores.names import Spread
from tests.ratelimit.servers import Cluster, Server, Watched

HOUR_US = 3600 * MICROSECONDS
WINDOW_US = 6 * HOUR_US
"""Six tokens in six hours: nothing comes back while a test runs."""
A_MINUTE_US = 60 * MICROSECONDS
_NAMES = count()


class Bench:
    """A store, a clock that can be moved forward, and bucket names that no other test has."""

    def __init__(self, store: BucketStore, algorithm: Algorithm, advance: Callable[[int], None]) -> None:
        self.store = store
        self.algorithm = algorithm
        self.advance = advance
        self.name = f"rl1|4:edge|bucket-{next(_NAMES)}"
        self.ban = make_spec(algorithm, 0, HOUR_US)
        self.six = make_spec(algorithm, 6, WINDOW_US)
        self.six_or_debt = make_spec(algorithm, 6, WINDOW_US, debt=True)

    def wish(self, cost: int = 1, name: str = "", spec: Spec | None = None, mode: int = ENFORCED) -> Take:
        return self.name + name, spec or self.six, cost, mode

    def ask(self, *takes: Take) -> Sequence[Outcome]:
        (outcomes,) = self.store.take([takes])
        return outcomes

    def remaining(self, name: str = "", spec: Spec | None = None) -> int:
        return self.ask(self.wish(0, name, spec))[0][1]


def on_servers(
    url: str, ports: Sequence[int], algorithm: Algorithm, *, denials_s: float = 0, spread: Spread = "domain"
) -> Iterator[Bench]:
    store = open_store(url, timeout_s=10, denials_s=denials_s, spread=spread)

    def advance(by_us: int) -> None:
        # A server's clock is its own, so instead all buckets are moved into the past.
        for port in ports:
            with redis.Redis(port=port, decode_responses=True) as client:
                for key in client.scan_iter("*bucket-*", count=10_000):
                    whole, colon, rest = str(client.get(key)).partition(":")
                    client.set(key, f"{int(whole) - by_us}{colon}{rest}", keepttl=True)
        if isinstance(store, DenialCache):
            store.forget()

    yield Bench(store, algorithm, advance)
    store.close()


def in_memory(algorithm: Algorithm) -> Bench:
    now_us = [1000 * WINDOW_US + A_MINUTE_US]

    def advance(by_us: int) -> None:
        now_us[0] += by_us

    return Bench(MemoryStore(clock=lambda: now_us[0]), algorithm, advance)


@pytest.fixture(params=Algorithm, ids=str)
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    found: Algorithm = request.param
    return found


@pytest.fixture(params=["memory", "valkey", "denials", "redis", "sentinel", "cluster", "spread"])
def bench(request: pytest.FixtureRequest, algorithm: Algorithm) -> Iterator[Bench]:
    match request.param:
        case "memory":
            yield in_memory(algorithm)
        case "valkey" | "denials":
            valkey: Valkey = request.getfixturevalue("valkey")
            denials_s = 60 if request.param == "denials" else 0
            yield from on_servers(valkey.url, [valkey.port], algorithm, denials_s=denials_s)
        case "redis":
            server: Server = request.getfixturevalue("debian_redis")
            yield from on_servers(server.url, [server.port], algorithm)
        case "sentinel":
            watched: Watched = request.getfixturevalue("watched")
            yield from on_servers(watched.url, [watched.primary.port], algorithm)
        case spread:
            cluster: Cluster = request.getfixturevalue("cluster")
            ports = [node.port for node in cluster.nodes]
            together = spread == "cluster"
            yield from on_servers(cluster.url, ports, algorithm, spread="domain" if together else "bucket")


token_buckets = pytest.mark.parametrize("algorithm", [Algorithm.TOKEN_BUCKET], indirect=True, ids=str)
windows = pytest.mark.parametrize(
    "algorithm", [Algorithm.FIXED_WINDOW, Algorithm.SLIDING_WINDOW], indirect=True, ids=str
)


def near(reset_us: int | None, expected_us: int) -> bool:
    """Tell whether a reset is right on a clock that moved a little since the bucket was used first."""
    return reset_us is not None and expected_us - A_MINUTE_US <= reset_us <= expected_us


def test_a_new_bucket_is_full_and_admits_exactly_its_capacity(bench: Bench) -> None:
    outcomes = [bench.ask(bench.wish())[0] for _ in range(7)]
    assert [allowed for allowed, _, _ in outcomes] == [True] * 6 + [False]
    assert [remaining for _, remaining, _ in outcomes] == [5, 4, 3, 2, 1, 0, 0]


@token_buckets
def test_a_token_bucket_fills_at_its_rate_up_to_its_capacity(bench: Bench) -> None:
    outcomes = [bench.ask(bench.wish())[0] for _ in range(7)]
    assert near(outcomes[0][2], HOUR_US)
    assert near(outcomes[5][2], 6 * HOUR_US)
    assert near(outcomes[6][2], HOUR_US)
    bench.advance(HOUR_US)
    assert [bench.ask(bench.wish())[0][0] for _ in range(2)] == [True, False]
    bench.advance(3 * HOUR_US)
    assert bench.remaining() == 3
    bench.advance(1000 * HOUR_US)
    assert bench.ask(bench.wish(6))[0][:2] == (True, 0)


@windows
def test_a_window_is_as_new_after_its_end(bench: Bench) -> None:
    bench.ask(bench.wish(6))
    reset_us = bench.ask(bench.wish())[0][2]
    assert reset_us is not None
    assert 0 < reset_us <= 2 * WINDOW_US
    bench.advance(WINDOW_US)
    fixed = bench.algorithm is Algorithm.FIXED_WINDOW
    assert bench.remaining() == 6 if fixed else bench.remaining() <= 6
    bench.advance(WINDOW_US)
    assert bench.ask(bench.wish(6))[0][:2] == (True, 0)


@windows
def test_what_stayed_of_a_window_is_still_there_before_its_end(bench: Bench) -> None:
    bench.ask(bench.wish(6))
    assert bench.ask(bench.wish(1), bench.wish(1, "other"))[0][:2] == (False, 0)
    assert bench.remaining("other") == 6


def test_a_cost_above_what_is_left_takes_nothing(bench: Bench) -> None:
    bench.ask(bench.wish(4))
    allowed, remaining, reset_us = bench.ask(bench.wish(5))[0]
    assert (allowed, remaining) == (False, 2)
    assert reset_us is not None
    assert reset_us > 0
    if bench.algorithm is Algorithm.TOKEN_BUCKET:
        assert near(reset_us, 3 * HOUR_US)
    assert bench.ask(bench.wish(2))[0][:2] == (True, 0)


def test_with_debt_a_refused_cost_is_charged_and_a_peek_says_so(bench: Bench) -> None:
    debt = bench.six_or_debt
    assert bench.ask(bench.wish(100, spec=debt, mode=KEPT))[0][:2] == (False, 0)
    assert bench.ask(bench.wish(0, spec=debt, mode=KEPT))[0][:2] == (False, 0)
    assert bench.ask(bench.wish(-97, spec=debt, mode=KEPT))[0][:2] == (True, 3)
    assert bench.ask(bench.wish(0, spec=debt, mode=KEPT))[0][:2] == (True, 3)


def test_a_charge_that_is_kept_stays_when_the_request_is_refused(bench: Bench) -> None:
    bench.ask(bench.wish(6, "full"))
    kept, _, other, debt = bench.ask(
        bench.wish(2, "kept", mode=ENFORCED | KEPT),
        bench.wish(1, "full"),
        bench.wish(3, "other"),
        bench.wish(9, "debt", bench.six_or_debt, ENFORCED | KEPT),
    )
    assert kept[:2] == (True, 4)
    assert other[:2] == (True, 6)
    assert debt[:2] == (False, 0)
    assert [bench.remaining(name) for name in ("kept", "other")] == [4, 6]
    assert bench.ask(bench.wish(-4, "debt", bench.six_or_debt))[0][:2] == (True, 1)


def test_a_request_is_over_its_quotas_when_all_of_them_are(bench: Bench) -> None:
    bench.ask(bench.wish(6, "a"))
    first, second = bench.ask(bench.wish(1, "a", mode=QUOTA), bench.wish(6, "b", mode=QUOTA))
    assert (first[0], second[:2]) == (False, (True, 0))
    *quotas, other = bench.ask(
        bench.wish(1, "a", mode=QUOTA), bench.wish(1, "b", mode=QUOTA), bench.wish(1, "c")
    )
    assert [quota[0] for quota in quotas] == [False, False]
    assert other[:2] == (True, 6)
    assert bench.ask(bench.wish(1, "a", mode=0), bench.wish(1, "c"))[1][:2] == (True, 5)


@pytest.mark.parametrize("cost", [7, 2**32, 10**18])
def test_a_cost_above_the_capacity_never_passes(bench: Bench, cost: int) -> None:
    assert bench.ask(bench.wish(cost)) == [(False, 6, None)]
    assert bench.remaining() == 6


def test_a_peek_changes_nothing(bench: Bench) -> None:
    assert bench.ask(bench.wish(0))[0][:2] == (True, 6)
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
    assert bench.ask(bench.wish(cost, spec=bench.ban)) == [(False, 0, None)]


def test_a_refused_request_is_charged_nowhere(bench: Bench) -> None:
    bench.ask(bench.wish(6, "full"))
    first, second, third = bench.ask(bench.wish(2, "before"), bench.wish(1, "full"), bench.wish(3, "after"))
    assert first[:2] == third[:2] == (True, 6)
    assert second[:2] == (False, 0)
    assert [bench.remaining(name) for name in ("before", "full", "after")] == [6, 0, 6]


def test_a_take_that_is_not_enforced_refuses_nobody(bench: Bench) -> None:
    bench.ask(bench.wish(6, "shadow"))
    shadow, other = bench.ask(bench.wish(1, "shadow", mode=0), bench.wish(1, "other"))
    assert shadow[:2] == (False, 0)
    assert other[:2] == (True, 5)


def test_a_take_that_is_not_enforced_is_charged_if_its_bucket_allows(bench: Bench) -> None:
    assert bench.ask(bench.wish(2, mode=0))[0][:2] == (True, 4)
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
    "rate",
    [
        Rate(2**32 - 1, Unit.YEAR),
        Rate(2**32 - 1, Unit.YEAR, 100),
        Rate(7, Unit.YEAR),
        Rate(2**32 - 1, Unit.SECOND, 10_000),
    ],
)
def test_the_largest_rates_are_exact(bench: Bench, rate: Rate) -> None:
    spec = bucket_of(rate, bench.algorithm)
    assert bench.ask(bench.wish(spec.capacity, spec=spec))[0][:2] in {(True, 0), (True, 1)}
    assert bench.ask(bench.wish(-spec.capacity, spec=spec))[0][:2] == (True, spec.capacity)
