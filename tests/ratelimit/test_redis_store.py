"""The Redis store on a real Valkey: the same arithmetic, shared between processes, and failures within a deadline."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_demo.valkey import Valkey
from envoy_ratelimit.core.algorithms import Spec
from envoy_ratelimit.core.rule import Rate, Unit, bucket_of
from envoy_ratelimit.core.store import BucketStore, StoreError, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, BucketSpec
from envoy_ratelimit.stores import RemoteStore, masked_url, open_store
from envoy_ratelimit.stores.address import parse_address
from envoy_ratelimit.stores.lane import ScriptCall
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.stores.redis import RedisStore
from envoy_ratelimit.stores.sites import Site, open_site
from tests.ratelimit.servers import start_server

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
    """Keeps what the server last said its clock was, and how often it was asked."""

    now_us = 0
    asked = 0

    def _ask(self, calls: dict[tuple[Site, int], ScriptCall], deadline_s: float) -> None:
        super()._ask(calls, deadline_s)
        self.asked += 1
        (call,) = calls.values()
        self.now_us = call.reply[0]


def recording(url: str, *, timeout_s: float) -> RecordingStore:
    site = open_site(parse_address(url), prefix="", spread="domain", timeout_s=timeout_s)
    return RecordingStore(site, timeout_s=timeout_s)


def plain(url: str, *, timeout_s: float) -> BucketStore:
    """A store that remembers no denials."""
    return open_store(url, timeout_s=timeout_s, denials_s=0)


@pytest.fixture
def store(valkey: Valkey) -> Iterator[RecordingStore]:
    opened = recording(valkey.url, timeout_s=PATIENT_S)
    yield opened
    opened.close()


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    opened: redis.Redis = redis.Redis(port=valkey.port, decode_responses=True)
    yield opened
    opened.close()


def wish(key: str, cost: int = 1, spec: Spec = PER_YEAR) -> list[list[Take]]:
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


def admitted(store: BucketStore, key: str, attempts: int) -> int:
    return sum(outcomes[0][0] for _ in range(attempts) for outcomes in store.take(wish(key) * 10))


def test_two_stores_on_one_server_admit_exactly_what_one_would(valkey: Valkey) -> None:
    stores = [plain(valkey.url, timeout_s=PATIENT_S) for _ in range(2)]
    with ThreadPoolExecutor(len(stores)) as pool:
        totals = pool.map(lambda one: admitted(one, "shared-by-two", 40), stores)
    assert sum(totals) == 500
    for one in stores:
        one.close()


def test_a_script_that_the_server_forgot_is_loaded_again(store: BucketStore, client: redis.Redis) -> None:
    assert store.take(wish("flushed"))[0][0][1] == 499
    client.script_flush()
    assert store.take(wish("flushed"))[0][0][1] == 498
    assert store.take(wish("flushed"))[0][0][1] == 497


def test_a_bucket_expires_when_it_is_full(store: BucketStore, client: redis.Redis) -> None:
    spec = BucketSpec.of(10, 3600 * MICROSECONDS)
    store.take(wish("expiring", 5, spec))
    left_ms = client.pttl("expiring")
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= 1_800_001


def test_a_short_bucket_is_gone_soon(valkey: Valkey, store: BucketStore, client: redis.Redis) -> None:
    store.take(wish("short", 1, BucketSpec.of(1, 20_000)))
    assert valkey.process.until(lambda: None if client.exists("short") else True, "end of the bucket")


def test_a_full_bucket_is_not_kept(store: BucketStore, client: redis.Redis) -> None:
    store.take(wish("full", 5))
    store.take(wish("full", -5))
    store.take(wish("peeked", 0))
    store.take(wish("refused", 501))
    assert client.exists("full", "peeked", "refused") == 0


@pytest.mark.parametrize("value", ["nonsense", "", "-5", "1:2:3", "nan", "99999999999999999999"])
def test_a_value_that_somebody_else_wrote_does_no_harm(
    store: BucketStore, client: redis.Redis, value: str
) -> None:
    client.set("foreign", value)
    allowed, remaining, _ = store.take(wish("foreign"))[0][0]
    assert (allowed, remaining) in {(True, 499), (False, 0)}
    client.delete("foreign")


def test_a_key_of_another_type_counts_as_a_full_bucket(store: BucketStore, client: redis.Redis) -> None:
    client.rpush("list", "x")
    assert store.take(wish("list"))[0][0][:2] == (True, 499)
    client.delete("list")


@pytest.mark.parametrize("cost", [0, 1, 501])
def test_a_bucket_from_a_clock_that_went_back_is_empty_and_fills(
    store: BucketStore, client: redis.Redis, cost: int
) -> None:
    spec = BucketSpec.of(500, 1000)
    client.set("future", str(2**52))
    assert store.take(wish("future", cost, spec))[0][0][1] == 0
    # All in a millisecond.
    answers = iter(lambda: store.take(wish("future", 500, spec))[0][0][0], True)
    assert len([*islice(answers, 10_000)]) < 10_000


def test_a_paused_server_is_a_timeout_and_then_exact_again(own_valkey: Valkey) -> None:
    store = plain(own_valkey.url, timeout_s=0.05)
    answer_of(store, "before", 1)
    own_valkey.process.signal(signal.SIGSTOP)
    with pytest.raises(StoreError, match="did not answer in time") as caught:
        store.take(wish("during"))
    assert caught.value.kind == "timeout"
    for _ in range(100):
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"is not asked: .*did not answer in time") as caught:
            store.take(wish("during"))
        assert caught.value.kind == "open"
        assert time.monotonic() - started < 1  # it does not wait: a hundred of them would take five seconds
    own_valkey.process.signal(signal.SIGCONT)
    # No late answer of an earlier call is taken for that of a later one.
    remaining = [answer_of(store, f"after-{number}", number) for number in range(1, 6)]
    assert remaining == [499, 498, 497, 496, 495]
    store.close()


def answer_of(store: BucketStore, key: str, cost: int) -> int:
    """Return what remains after a take that may need some tries until the breaker closes, each of another bucket."""
    for attempt in range(1000):
        try:
            return store.take(wish(f"{key}-{attempt}", cost))[0][0][1]
        except StoreError:
            time.sleep(0.02)
    raise AssertionError("the server never answered")


def test_a_server_that_is_gone_is_a_connection_error_and_is_found_again(own_valkey: Valkey) -> None:
    store = plain(own_valkey.url, timeout_s=PATIENT_S)
    store.take(wish("a"))
    own_valkey.process.kill()
    with pytest.raises(StoreError, match=r"connection|reached") as caught:
        store.take(wish("a"))
    assert caught.value.kind == "connection"
    with pytest.raises(StoreError, match="is not asked") as caught:
        store.take(wish("a"))
    assert caught.value.kind == "open"
    with Processes(own_valkey.process.log.parent) as processes:
        start_server(processes, port=own_valkey.port)
        assert answer_of(store, "b", 7) == 493
    store.close()


def test_a_server_that_was_never_there_is_known_at_once() -> None:
    store = plain(f"redis://127.0.0.1:{free_port()}", timeout_s=PATIENT_S)
    started = time.monotonic()
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        store.take(wish("a"))
    assert caught.value.kind == "open"
    assert time.monotonic() - started < PATIENT_S / 2
    store.close()


def test_what_the_server_refuses_is_said(valkey: Valkey) -> None:
    store = plain(valkey.url + "/9999", timeout_s=PATIENT_S)
    with pytest.raises(StoreError, match="out of range"):
        store.take(wish("a"))
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
        "redis+cluster://u:secret@host:1/3",
        "redis+sentinel://u:secret@host:1",
        "redis://u:secret@host:1,host:2",
        "redis://host/?password=secret",
        "redis://u:secret@host?ssl_ca_certs=/a",
        "rediss://u:secret@host?ssl_keyfile=/a",
        "unix://u:secret@host/path",
        "redis+nonsense://u:secret@host",
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
        ("redis+cluster://u:p@a:1,b:2", "redis+cluster://***@a:1,b:2"),
        (
            "redis+sentinel://a:1/main/0?sentinel_password=secret&sentinel_password_file=/run/p",
            "redis+sentinel://a:1/main/0?sentinel_password=***&sentinel_password_file=/run/p",
        ),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("memory:", "memory:"),
        ("redis://u:secret@[::1", "redis:"),
        ("redis:/u:secret@host:6379/0", "***@host:6379/0"),
        ("u:secret@host", "***@host"),
        ("redis://u:sec/ret@host:6379/0?db=1", "***@host:6379/0"),
        ("redis://u:sec#ret@host", "***@host"),
        ("redis://host/0?db=1&auth=secret", "redis://host/0?db=1&auth=***"),
        (
            "redis+sentinel://u:p@a:1/main?sentinel_password=sec@ret",
            "redis+sentinel://***@a:1/main?sentinel_password=***",
        ),
        ("rediss://u:p@host?ssl_ca_certs=/run/a@b.pem", "rediss://***@host?ssl_ca_certs=/run/a@b.pem"),
        ("redis://u:sec?ret@host", "redis:***"),
        ("redis://host?auth=sec@ret", "redis:***"),
        ("redis://host?sentinel_password=sec#re@t", "redis:***"),
        ("redis://u:sec/ret@host?sentinel_password=sec@ret", "redis:***"),
    ],
)
def test_a_store_is_shown_without_its_password(url: str, masked: str) -> None:
    assert masked_url(url) == masked


@pytest.mark.parametrize(
    ("url", "option", "why"),
    [
        ("redis://host", "password_file", "No such file or directory"),
        ("rediss://host", "ssl_ca_certs", "No such file or directory"),
        ("rediss://host?ssl_certfile=/dev/null", "ssl_keyfile", "No such file or directory"),
        ("redis+cluster://host", "password_file", "No such file or directory"),
        ("redis+sentinel://host/main", "sentinel_password_file", "No such file or directory"),
        ("redis://host", "password_file", "not UTF-8"),
    ],
)
def test_a_file_of_an_option_that_cannot_be_used_is_named_with_it(
    url: str, option: str, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    if why == "not UTF-8":
        file.write_bytes(b"\xff")
    # Nobody is asked there: files are read first.
    url = url.replace("host", f"{LOOPBACK}:{free_port()}")
    with closing(
        open_store(f"{url}{'&' if '?' in url else '?'}{option}={file}", timeout_s=PATIENT_S)
    ) as store:
        with pytest.raises(StoreError, match=rf"{option}={file} .*{why}"):
            store.take(wish("a"))
        assert isinstance(store, RemoteStore)
        assert f"{option}={file}" in store.why_down()


def test_a_batch_is_one_round_trip(store: RecordingStore, client: redis.Redis) -> None:
    store.take(wish("counted"))
    before = calls_of(client)
    store.take(wish("counted") * 50)
    assert calls_of(client) == before + 1
    assert client.exists("counted")


def calls_of(client: redis.Redis) -> int:
    statistics = client.info("commandstats")
    assert isinstance(statistics, dict)
    return sum(statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))
