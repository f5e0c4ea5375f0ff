"""Sessions survive a crash as they were, end when they should have, and a deleted one leaves nothing."""

import logging
import stat
from pathlib import Path

import pytest

from envoy_tap.core.policy import Policy
from envoy_tap.core.session import Limits, Progress, State
from envoy_tap.registry import Registry
from envoy_tap.session_sink import SessionSink
from envoy_tap.slot.slot import Slot
from envoy_tap.store import SessionStore, snapshot
from tests.tap.building import Clock, MemorySink, exchange, session

ID, OTHER = "0123456789ab", "ba9876543210"
WHY = {"why": "INC-1"}


def registry(data: Path, clock: Clock, slot: Slot | None = None, policy: Policy | None = None) -> Registry:
    return Registry(
        slot or Slot(clock),
        SessionStore(data),
        policy or Policy(),
        b"key",
        clock=clock,
        maxima=Limits(duration_s=600),
    )


def test_what_is_saved_reads_back(tmp_path: Path) -> None:
    store = SessionStore(tmp_path)
    progress = Progress(session(ID, "status=5xx"), State.STOPPED, 5.0, "bob")
    progress.counts.update(seen=3, captured=2)
    store.save(ID, snapshot(progress))
    assert list(SessionStore(tmp_path).load()) == [progress]
    file = tmp_path / "sessions" / ID / "session.json"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, file.parent.parent)] == [
        0o600,
        0o700,
        0o700,
    ]


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"session": 1, "counts": {}}'])
def test_a_session_that_cannot_be_read_is_said_and_not_served(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = SessionStore(tmp_path)
    store.save(ID, snapshot(Progress(session(ID))))
    (tmp_path / "sessions" / ID / "session.json").write_text(content, "utf-8")
    store.save(OTHER, snapshot(Progress(session(OTHER))))
    with caplog.at_level(logging.ERROR):
        assert [each.session.id for each in store.load()] == [OTHER]
    assert ID in caplog.text


def test_half_a_save_leaves_what_was_there(tmp_path: Path) -> None:
    store = SessionStore(tmp_path)
    store.save(ID, snapshot(Progress(session(ID))))
    (tmp_path / "sessions" / ID / "session.new").write_text('{"half', "utf-8")
    assert len(list(store.load())) == 1


@pytest.mark.parametrize("name", ["..", "../x", "0123456789AB", "0" * 13, "", "a/b"])
def test_only_an_id_is_a_place(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyError):
        SessionStore(tmp_path).folder_of(name)


async def test_after_a_crash_an_active_session_goes_on_and_an_expired_one_does_not(tmp_path: Path) -> None:
    clock = Clock()
    before = registry(tmp_path, clock)
    short = (await before.start({**WHY, "limits": {"duration_s": 10}}, "alice")).session.id
    long = (await before.start(WHY, "alice")).session.id
    clock.advance(10)
    slot = Slot(clock)
    after = registry(tmp_path, clock, slot)
    after.load()
    assert [after.get(each).state for each in (short, long)] == [State.EXPIRED, State.ACTIVE]
    assert [each.id for each in slot.sessions] == [long]


async def test_the_end_of_a_session_reaches_the_slot_and_the_disk(tmp_path: Path) -> None:
    clock, stored = Clock(), SessionStore(tmp_path)
    slot = Slot(clock)
    running = registry(tmp_path, clock, slot)
    stopped = (await running.start(WHY, "alice")).session.id
    used_up = (await running.start({**WHY, "predicate": "first(1)"}, "alice")).session.id
    expiring = (await running.start({**WHY, "limits": {"duration_s": 5}}, "alice")).session.id
    assert len(slot.sessions) == 3
    await running.stop(stopped, "bob")
    assert running.admit(exchange(tap_id=used_up)) is not None
    assert [each.id for each in slot.sessions] == [expiring]
    clock.advance(5)
    running.expire()
    assert not slot.sessions
    await running.save_all()
    states = {each.session.id: each.state for each in stored.load()}
    assert states == {stopped: State.STOPPED, used_up: State.EXHAUSTED, expiring: State.EXPIRED}


async def test_a_deleted_session_leaves_nothing_and_does_not_come_back(tmp_path: Path) -> None:
    clock, store = Clock(), SessionStore(tmp_path)
    running = Registry(Slot(clock), store, Policy(), b"key", clock=clock)
    session_id = (await running.start(WHY, "alice")).session.id
    rest = MemorySink()
    sink = SessionSink(store, rest, "own")
    sink.write([exchange(tap_id=session_id), exchange(tap_id="own"), exchange(tap_id=OTHER)])
    assert len(rest.stored) == 1
    assert len(await running.last(session_id, 10)) == 1
    await running.delete(session_id, "bob")
    sink.write([exchange(tap_id=session_id)])
    await running.save_all()
    assert list((tmp_path / "sessions").iterdir()) == []
    with pytest.raises(KeyError):
        running.get(session_id)


async def test_what_policy_forbids_is_counted_and_not_kept(tmp_path: Path) -> None:
    running = registry(tmp_path, Clock(), policy=Policy(never_paths=("/orders",)))
    progress = await running.start(WHY, "alice")
    assert running.admit(exchange(tap_id=progress.session.id)) is None
    assert progress.counts["forbidden"] == 1
    assert running.admit(exchange(tap_id="nobody")) is None
    assert running.verdicts.counts == {("forbidden",): 1, ("no_session",): 1}


async def test_what_could_not_be_stored_is_counted_as_dropped(tmp_path: Path) -> None:
    running = registry(tmp_path, Clock())
    progress = await running.start(WHY, "alice")
    admitted = running.admit(exchange(tap_id=progress.session.id))
    assert admitted is not None
    running.lose(admitted)
    assert (progress.counts["captured"], progress.counts["dropped"], progress.counts["bytes"]) == (0, 1, 0)
