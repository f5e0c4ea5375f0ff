"""Sessions are kept for so long, and until they take so much; what goes is counted and on record."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from envoy_tap.audit import AuditLog, Recorder
from envoy_tap.core.events import Loss
from envoy_tap.core.policy import Policy
from envoy_tap.core.session import Progress, State
from envoy_tap.housekeeper import Housekeeper
from envoy_tap.registry import Registry
from envoy_tap.session_sink import SessionSink
from envoy_tap.slot.slot import Slot
from envoy_tap.storage.port import Store
from envoy_tap.storage.retention import MAX_SESSIONS, Retention
from envoy_tap.storage.snapshot import Snapshot
from tests.tap.building import Clock, counted, exchange, session
from tests.tap.stores import sqlite_store

HOUR_S = 3600


def ended(number: int, at_s: float) -> Progress:
    return Progress(session(f"{number:012x}"), State.STOPPED, at_s)


def test_those_that_ended_first_go_first_and_open_ones_never() -> None:
    sessions = [Progress(session("a" * 12)), ended(1, 100.0), ended(2, 50.0), ended(3, 2 * HOUR_S)]
    sizes = {each.session.id: 10 for each in sessions}

    def due(**limits: int) -> list[tuple[int, str]]:
        found = Retention(**{"keep_s": HOUR_S * 24, **limits}).due(sessions, sizes, 2.0 * HOUR_S)
        return [(int(session_id, 16), str(reason)) for session_id, reason in found]

    assert due() == []
    assert due(keep_s=HOUR_S) == [(2, "age"), (1, "age")]
    assert due(max_bytes=35) == [(2, "size")]
    assert due(max_bytes=1) == [(2, "size"), (1, "size"), (3, "size")]
    many = [ended(number, number) for number in range(MAX_SESSIONS + 2)]
    found = list(Retention(keep_s=HOUR_S * 24).due(many, {}, 2.0 * HOUR_S))
    assert [str(reason) for _, reason in found] == ["number", "number"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = sqlite_store(tmp_path)
    yield store
    store.close()


async def test_what_is_kept_no_longer_is_deleted_counted_and_on_record(store: Store, tmp_path: Path) -> None:
    clock, log = Clock(), AuditLog(tmp_path, [b"key"])
    registry = Registry(Slot(clock), store, Policy(), b"key", clock=clock)
    keeper = Housekeeper(registry, store, Recorder(log), Retention(keep_s=HOUR_S), clock=clock)
    old = (await registry.start({"why": "x", "limits": {"duration_s": 60}}, "alice")).session.id
    new = (await registry.start({"why": "x", "limits": {"duration_s": HOUR_S}}, "alice")).session.id
    clock.advance(60)
    await keeper.once()
    assert len(registry.all()) == 2
    clock.advance(HOUR_S + 1)
    await keeper.once()
    assert [each.session.id for each in registry.all()] == [new]
    assert counted(keeper.deleted) == {"age": 1}
    (told,) = log.last(10)
    log.close()
    assert (told.who, told.action, told.session, told.detail) == ("service", "delete", old, {"why": "age"})


def test_a_full_store_takes_no_more_and_says_why(store: Store) -> None:
    clock = Clock()
    from_id = "0123456789ab"
    store.create(Snapshot(session(from_id)))
    one = exchange(tap_id=from_id)
    sink = SessionSink(store, max_bytes=3 * one.size_bytes, clock=clock)
    refused = [sink.write([one]) for _ in range(4)]
    assert refused == [{}, {}, {}, {0: Loss.STORE_FULL}]
    store.delete(from_id)
    store.create(Snapshot(session(from_id)))
    clock.advance(1)
    assert sink.write([one]) == {}, "there is room again"
