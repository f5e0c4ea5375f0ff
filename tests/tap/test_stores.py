"""What every store does: sessions read back, exchanges are numbered, what is deleted is gone; and what a shared one adds."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from envoy_demo.processes import Processes
from envoy_demo.valkey import Valkey, start_valkey
from envoy_tap.core.policy import Policy
from envoy_tap.core.record import as_object, summary
from envoy_tap.core.session import Limits, State
from envoy_tap.registry import Registry
from envoy_tap.slot.slot import Slot
from envoy_tap.storage import port
from envoy_tap.storage.port import Change, Span, Store
from envoy_tap.storage.redis import RedisStore
from envoy_tap.storage.snapshot import Snapshot
from tests.tap.building import REQUEST, exchange, session
from tests.tap.stores import redis_store, sqlite_store

ID, OTHER = "0123456789ab", "ba9876543210"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Processes(tmp_path_factory.mktemp("valkey")) as processes:
        yield start_valkey(processes)


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store
    if request.param == "sqlite":
        store = sqlite_store(tmp_path)
    else:
        url = request.getfixturevalue("valkey").url
        redis.Redis.from_url(url).flushdb()
        store = redis_store(url)
    yield store
    store.close()


def seqs(store: Store, span: Span) -> list[int]:
    assert [seq for seq, _ in store.exchanges(ID, span)] == [
        each["seq"] for each in store.summaries(ID, span)
    ]
    return [seq for seq, _ in store.exchanges(ID, span)]


def test_what_is_saved_reads_back(store: Store) -> None:
    later = time.time()
    snapshot = Snapshot(
        session(ID, "status=5xx", now_s=later), State.STOPPED, later + 5, "bob", {"seen": 3, "captured": 2}
    )
    other = Snapshot(session(OTHER, now_s=later + 1))
    store.create(other)
    store.create(Snapshot(snapshot.session))
    store.save(snapshot)
    # What this replica counted itself it knows; a shared store tells what others counted.
    known = replace(snapshot, counts={}) if store.is_shared else snapshot
    assert list(store.load()) == [known, other]
    assert store.get(ID) == known
    with pytest.raises(KeyError):
        store.get("ffffffffffff")


def test_exchanges_are_numbered_in_their_order(store: Store) -> None:
    store.create(Snapshot(session(ID, now_s=time.time())))
    assert store.last_seq(ID) == 0
    assert list(store.append(ID, [exchange(tap_id=ID)] * 3)) == [1, 2, 3]
    assert list(store.append(ID, [exchange(tap_id=ID)] * 2)) == [4, 5]
    assert store.last_seq(ID) == 5
    assert seqs(store, Span()) == [1, 2, 3, 4, 5]
    assert seqs(store, Span(after=1, before=4)) == [2, 3]
    assert seqs(store, Span(limit=2)) == [1, 2]
    assert seqs(store, Span(before=5, limit=2, newest=True)) == [3, 4]
    assert store.exchanges(ID, Span(limit=1)) == [(1, as_object(exchange(tap_id=ID)))]
    assert store.summaries(ID, Span(limit=1)) == [summary(exchange(tap_id=ID), 1)]
    assert store.sizes()[ID] > 0


def test_what_is_read_at_once_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create(Snapshot(session(ID, now_s=time.time())))
    store.append(ID, [exchange(tap_id=ID)] * 3)
    monkeypatch.setattr(port, "MAX_READ_BYTES", 10)
    assert [seq for seq, _ in store.exchanges(ID, Span())] == [1]
    assert [seq for seq, _ in store.exchanges(ID, Span(newest=True))] == [3]


def test_there_is_nothing_of_a_session_that_is_not_kept(store: Store) -> None:
    for ask in (lambda: store.append(ID, [exchange()]), lambda: store.last_seq(ID)):
        with pytest.raises(KeyError):
            ask()
    assert store.exchanges(ID, Span()) == []
    store.delete(ID)


def test_a_deleted_session_is_gone(store: Store) -> None:
    for session_id in (ID, OTHER):
        store.create(Snapshot(session(session_id, now_s=time.time())))
        store.append(session_id, [exchange(tap_id=session_id)])
    store.delete(ID)
    assert [each.session.id for each in store.load()] == [OTHER]
    assert list(store.sizes()) == [OTHER]
    assert store.exchanges(ID, Span()) == []
    assert len(store.exchanges(OTHER, Span())) == 1


def test_nothing_is_kept_beyond_a_sessions_limits(store: Store) -> None:
    limits = Limits(exchanges=3, bytes=1 << 20)
    store.create(Snapshot(session(ID, now_s=time.time(), limits=limits)))
    assert list(store.append(ID, [exchange(tap_id=ID)] * 2)) == [1, 2]
    assert list(store.append(ID, [exchange(tap_id=ID)] * 2)) == [3, None]
    few = Limits(exchanges=10, bytes=2 * exchange().content_bytes)
    store.create(Snapshot(session(OTHER, now_s=time.time(), limits=few)))
    larger = exchange(replace(REQUEST, body=bytes(few.bytes)), tap_id=OTHER)
    assert list(store.append(OTHER, [exchange(tap_id=OTHER), larger, exchange(tap_id=OTHER)])) == [1, None, 2]
    assert list(store.append(OTHER, [exchange(tap_id=OTHER)])) == [None]
    assert [seq for seq, _ in store.exchanges(OTHER, Span())] == [1, 2]


@pytest.fixture
def db(valkey: Valkey) -> Iterator[Any]:
    db = redis.Redis.from_url(valkey.url)
    db.flushdb()
    yield db
    db.close()


@pytest.fixture
def replicas(valkey: Valkey, db: Any) -> Iterator[tuple[RedisStore, RedisStore]]:
    _ = db
    both = redis_store(valkey.url), redis_store(valkey.url)
    yield both
    for each in both:
        each.close()


def test_limits_hold_over_all_replicas_together(replicas: tuple[Store, Store]) -> None:
    here, there = replicas
    limits = Limits(exchanges=3, bytes=1 << 20)
    here.create(Snapshot(session(ID, now_s=time.time(), limits=limits)))
    assert list(here.append(ID, [exchange(tap_id=ID)] * 2)) == [1, 2]
    assert list(there.append(ID, [exchange(tap_id=ID)] * 2)) == [3, None]
    few = Limits(exchanges=10, bytes=exchange().content_bytes + 1)
    here.create(Snapshot(session(OTHER, now_s=time.time(), limits=few)))
    assert list(there.append(OTHER, [exchange(tap_id=OTHER)] * 2)) == [1, None]


def test_the_key_of_a_session_that_another_replica_deleted_is_forgotten(
    replicas: tuple[RedisStore, RedisStore],
) -> None:
    here, there = replicas
    for session_id, look in ((ID, there.sizes), (OTHER, lambda: there.append(OTHER, [exchange()]))):
        here.create(Snapshot(session(session_id, now_s=time.time())))
        there.append(session_id, [exchange(tap_id=session_id)])
        assert session_id in there._sealers
        here.delete(session_id)
        with suppress(KeyError):
            look()
        assert session_id not in there._sealers


def test_a_session_that_has_ended_stays_so_and_counters_add_up(replicas: tuple[Store, Store]) -> None:
    here, there = replicas
    active = Snapshot(session(ID, now_s=time.time()))
    here.create(active)
    here.save(
        replace(active, state=State.STOPPED, ended_at_s=time.time(), ended_by="bob", counts={"seen": 2})
    )
    there.save(replace(active, counts={"seen": 3}))
    assert there.get(ID).state is State.STOPPED
    assert (here.get(ID).elsewhere, there.get(ID).elsewhere) == ({"seen": 3}, {"seen": 2})
    here.delete(ID)
    with pytest.raises(KeyError):
        there.save(active)
    assert list(there.load()) == []


def test_nothing_at_the_store_is_in_clear_and_all_of_it_expires(
    replicas: tuple[Store, Store], db: Any
) -> None:
    here, _ = replicas
    here.create(Snapshot(session(ID, 'header[x-user]="planted"', now_s=time.time())))
    here.append(ID, [exchange(tap_id=ID)])
    here.save(Snapshot(session(ID, now_s=time.time()), counts={"seen": 1}))
    content = b"".join(db.dump(key) for key in db.keys("*"))
    for clear in (b"planted", b"a test", b"alice", b"/orders", b"ping", b"edge-1"):
        assert clear not in content
    of_session = [key for key in db.keys("*") if ID.encode() in key]
    assert len(of_session) == 3
    for key in of_session:
        assert 0 < db.ttl(key) <= 600 + 3600 + 2
    db.delete(*of_session)
    assert here.sizes() == {}
    assert db.smembers("envoy-tap:sessions") == set()


def test_another_key_file_is_refused(replicas: tuple[Store, Store], valkey: Valkey) -> None:
    _ = replicas
    with pytest.raises(OSError, match="another key file"):
        redis_store(valkey.url, bytes(32))


def test_a_store_that_is_away_is_an_error_without_its_address() -> None:
    with pytest.raises(OSError) as refused:  # noqa: PT011 - its text is what is asked
        redis_store("redis://user:s3cret@127.0.0.1:1/0")
    assert "s3cret" not in str(refused.value)


async def test_a_replica_hears_what_another_does(replicas: tuple[Store, Store]) -> None:
    here, there = replicas
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[tuple[Change, str]] = asyncio.Queue()

    def changed(change: Change, session_id: str) -> None:
        with suppress(RuntimeError):  # the test is over
            loop.call_soon_threadsafe(heard.put_nowait, (change, session_id))

    there.listen(changed)
    registry = Registry(Slot(), there, Policy(), b"key")

    async def until(
        wanted: Change, act: Callable[[], object], seen: Callable[[], bool] = lambda: True
    ) -> None:
        """Hear of changes until one is *wanted* and *seen* holds: those of the deletions below may still come.

        On a starved machine a connection to the store times out, and a message is lost with it; so *act* is done again.
        """
        async with asyncio.timeout(60):
            change = None
            while change is not wanted or not seen():
                with suppress(OSError):
                    await asyncio.to_thread(act)
                with suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        change, session_id = await heard.get()
                        assert session_id == ID
                while change is not wanted and not heard.empty():
                    change, session_id = heard.get_nowait()
                with suppress(OSError):
                    await registry.refresh(ID)

    async with asyncio.timeout(30):
        while heard.empty():  # it begins to listen in its own time
            await asyncio.to_thread(here.delete, ID)
            await asyncio.sleep(0)
    active = Snapshot(session(ID, now_s=time.time()))
    await asyncio.to_thread(here.create, active)
    await until(Change.SESSION, lambda: here.save(active), lambda: bool(registry.all()))
    assert [each.id for each in registry._slot.sessions] == [ID]
    await until(Change.EXCHANGES, lambda: here.append(ID, [exchange(tap_id=ID)]))
    stopped = replace(active, state=State.STOPPED, ended_at_s=time.time(), ended_by="bob")
    await until(Change.SESSION, lambda: here.save(stopped), lambda: registry.get(ID).state is State.STOPPED)
    assert registry.get(ID).ended_by == "bob"
    assert registry._slot.sessions == ()
    await asyncio.to_thread(here.delete, ID)
    await until(Change.SESSION, lambda: not registry.all())
