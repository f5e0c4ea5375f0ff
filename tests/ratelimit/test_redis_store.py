"""The Redis store on a real Valkey: the same arithmetic, shared between processes, and failures within a deadline."""

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envoy_demo.ports import free_port
from envoy_demo.valkey import Valkey
from envoy_ratelimit.core.rule import Rate, Unit, bucket_of
from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, BucketSpec
from envoy_ratelimit.stores import masked_url, open_store
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.stores.redis import RedisStore

PATIENT_S = 10
PER_YEAR = bucket_of(Rate(500, Unit.YEAR))
SPECS = (
    BucketSpec.of(1000, MICROSECONDS, 20),
    BucketSpec.of(3, MICROSECONDS),
    BucketSpec.of(7, 3600 * MICROSECONDS),
    BucketSpec.of(2**32 - 1, 365 * 86_400 * MICROSECONDS, 30),
    BucketSpec.of(0, MICROSECONDS),
)
_ROUNDS = count()


class RecordingStore(RedisStore):
    """Keeps what the server last said its clock was."""

    now_us = 0

    def _call(self, keys: list[str], takes: bytes) -> list[int]:
        reply = super()._call(keys, takes)
        self.now_us = reply[0]
        return reply


@pytest.fixture
def store(valkey: Valkey) -> Iterator[RecordingStore]:
    opened = RecordingStore(valkey.url, timeout_s=PATIENT_S)
    yield opened
    opened.close()


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    opened: redis.Redis = redis.Redis(port=valkey.port, decode_responses=True)
    yield opened
    opened.close()


def wish(key: str, cost: int = 1, spec: BucketSpec = PER_YEAR) -> list[list[Take]]:
    return [[(key, spec, cost, True)]]


TAKES = st.tuples(st.integers(0, 4), st.integers(-4, 32), st.booleans())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    batches=st.lists(st.lists(st.lists(TAKES, min_size=1, max_size=4), min_size=1, max_size=5), max_size=8)
)
def test_it_answers_to_the_microsecond_what_the_memory_store_does(
    store: RecordingStore, batches: list[list[list[tuple[int, int, bool]]]]
) -> None:
    name = f"same-{next(_ROUNDS)}"
    memory = MemoryStore(clock=lambda: store.now_us)
    for batch in batches:
        takes = [
            [(f"{name}-{which}", SPECS[which], cost, enforced) for which, cost, enforced in one]
            for one in batch
        ]
        assert store.take(takes) == memory.take(takes)


def admitted(store: RedisStore, key: str, attempts: int) -> int:
    return sum(outcomes[0][0] for _ in range(attempts) for outcomes in store.take(wish(key) * 10))


def test_two_stores_on_one_server_admit_exactly_what_one_would(valkey: Valkey) -> None:
    stores = [RedisStore(valkey.url, timeout_s=PATIENT_S) for _ in range(2)]
    with ThreadPoolExecutor(len(stores)) as pool:
        totals = pool.map(lambda one: admitted(one, "shared-by-two", 40), stores)
    assert sum(totals) == 500
    for one in stores:
        one.close()


def test_a_script_that_the_server_forgot_is_loaded_again(store: RedisStore, client: redis.Redis) -> None:
    assert store.take(wish("flushed"))[0][0][1] == 499
    client.script_flush()
    assert store.take(wish("flushed"))[0][0][1] == 498
    assert store.take(wish("flushed"))[0][0][1] == 497


def test_a_bucket_expires_when_it_is_full(store: RedisStore, client: redis.Redis) -> None:
    spec = BucketSpec.of(10, 3600 * MICROSECONDS)
    store.take(wish("expiring", 5, spec))
    left_ms = client.pttl("expiring")
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 1_800_001


def test_a_short_bucket_is_gone_soon(valkey: Valkey, store: RedisStore, client: redis.Redis) -> None:
    store.take(wish("short", 1, BucketSpec.of(1, 20_000)))
    assert valkey.process.until(lambda: None if client.exists("short") else True, "end of the bucket")


def test_a_full_bucket_is_not_kept(store: RedisStore, client: redis.Redis) -> None:
    store.take(wish("full", 5))
    store.take(wish("full", -5))
    store.take(wish("peeked", 0))
    store.take(wish("refused", 501))
    assert client.exists("full", "peeked", "refused") == 0


@pytest.mark.parametrize("value", ["nonsense", "", "-5", "1:2:3", "nan", "99999999999999999999"])
def test_a_value_that_somebody_else_wrote_does_no_harm(
    store: RedisStore, client: redis.Redis, value: str
) -> None:
    client.set("foreign", value)
    allowed, remaining, _ = store.take(wish("foreign"))[0][0]
    assert (allowed, remaining) in {(True, 499), (False, 0)}
    client.delete("foreign")


def test_a_key_of_another_type_counts_as_a_full_bucket(store: RedisStore, client: redis.Redis) -> None:
    client.rpush("list", "x")
    assert store.take(wish("list"))[0][0][:2] == (True, 499)
    client.delete("list")


@pytest.mark.parametrize("cost", [0, 1, 501])
def test_a_bucket_from_a_clock_that_went_back_is_empty_and_fills(
    store: RedisStore, client: redis.Redis, cost: int
) -> None:
    spec = BucketSpec.of(500, 1000)
    client.set("future", str(2**52))
    assert store.take(wish("future", cost, spec))[0][0][1] == 0
    # All in a millisecond.
    answers = iter(lambda: store.take(wish("future", 500, spec))[0][0][0], True)
    assert len([*islice(answers, 10_000)]) < 10_000


def test_a_paused_server_is_a_timeout_and_then_exact_again(own_valkey: Valkey) -> None:
    store = RedisStore(own_valkey.url, timeout_s=0.05)
    assert store.take(wish("before"))[0][0][1] == 499
    own_valkey.process.signal(signal.SIGSTOP)
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(StoreError, match="did not answer in time") as caught:
            store.take(wish("during"))
        assert caught.value.kind == "timeout"
        assert time.monotonic() - started < PATIENT_S  # redis-py itself would wait for ever
    own_valkey.process.signal(signal.SIGCONT)
    patient = RedisStore(own_valkey.url, timeout_s=PATIENT_S)
    patient.take(wish("awake"))
    # No late answer of an earlier call is taken for that of a later one.
    remaining = [answer_of(store, f"after-{number}", number) for number in range(1, 6)]
    assert remaining == [499, 498, 497, 496, 495]
    store.close()
    patient.close()


def answer_of(store: RedisStore, key: str, cost: int) -> int:
    """Return what remains after a take that may need some tries on a busy machine, each of another bucket."""
    for attempt in range(100):
        try:
            return store.take(wish(f"{key}-{attempt}", cost))[0][0][1]
        except StoreError:
            continue
    raise AssertionError("the server never answered")


def test_a_server_that_is_gone_is_a_connection_error(own_valkey: Valkey) -> None:
    store = RedisStore(own_valkey.url, timeout_s=PATIENT_S)
    store.take(wish("a"))
    own_valkey.process.kill()
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be reached") as caught:
            store.take(wish("a"))
        assert caught.value.kind == "connection"
    store.close()


def test_a_server_that_was_never_there_is_a_connection_error_on_first_use() -> None:
    store = open_store(f"redis://127.0.0.1:{free_port()}", timeout_s=PATIENT_S)
    with pytest.raises(StoreError) as caught:
        store.take(wish("a"))
    assert caught.value.kind == "connection"
    store.close()


def test_what_the_server_refuses_is_an_error_in_its_response(valkey: Valkey) -> None:
    store = open_store(valkey.url + "/9999", timeout_s=PATIENT_S)
    with pytest.raises(StoreError, match="Redis refused") as caught:
        store.take(wish("a"))
    assert caught.value.kind == "response"
    store.close()


def test_memory_is_a_store_of_its_own() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "localhost:6379",
        "http://u:secret@host",
        "redis+cluster://u:secret@host:1",
        "redis://u:secret@host:port",
        "redis://u:secret@[::1",
        "redis://u:secret@host:99999999",
    ],
)
def test_a_url_that_is_no_store_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^the store .*") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://user:secret@host:6379/0", "redis://***@host:6379/0"),
        ("redis://:p@ss@host", "redis://***@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("memory:", "memory:"),
        ("redis://u:secret@[::1", "redis:"),
    ],
)
def test_a_store_is_shown_without_its_password(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_the_script_needs_no_more_than_one_call_for_a_batch(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.take(wish("counted"))
    commands: list[Sequence[object]] = []
    execute = store._client.execute_command

    def counted(*args: object) -> object:
        commands.append(args[:1])
        return execute(*args)

    monkeypatch.setattr(store._client, "execute_command", counted)
    store.take(wish("counted") * 50)
    assert commands == [("EVALSHA",)]
    assert client.exists("counted")
