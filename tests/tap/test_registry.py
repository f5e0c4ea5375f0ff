"""Sessions survive a crash as they were, end when they should have, and a deleted one leaves nothing."""

import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envoy_tap.archive import Archive
from envoy_tap.collector import Collector
from envoy_tap.core.events import Key, Loss, WholeTrace
from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.policy import Policy
from envoy_tap.core.session import LATER, Limits, SessionError, State
from envoy_tap.registry import COMMAND_LINE, END_OF_SERVICE, POLICY, Registry
from envoy_tap.session_sink import SessionSink
from envoy_tap.slot.slot import Slot
from envoy_tap.storage.port import Span, Store
from tests.tap.building import NODE, Clock, counted, exchange, session
from tests.tap.stores import sqlite_store

WHY = {"why": "INC-1"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = sqlite_store(tmp_path)
    yield store
    store.close()


def registry(store: Store, clock: Clock, slot: Slot | None = None, policy: Policy | None = None) -> Registry:
    return Registry(
        slot or Slot(clock),
        store,
        policy or Policy(),
        b"key",
        clock=clock,
        maxima=Limits(duration_s=600),
    )


async def test_after_a_crash_an_active_session_goes_on_and_an_expired_one_does_not(store: Store) -> None:
    clock = Clock()
    before = registry(store, clock)
    short = (await before.start({**WHY, "limits": {"duration_s": 10}}, "alice")).session.id
    long = (await before.start(WHY, "alice")).session.id
    clock.advance(10)
    slot = Slot(clock)
    after = registry(store, clock, slot)
    after.load()
    assert [after.get(each).state for each in (short, long)] == [State.EXPIRED, State.ACTIVE]
    assert [each.id for each in slot.sessions] == [long]


async def test_the_end_of_a_session_reaches_the_slot_and_the_disk(store: Store) -> None:
    clock = Clock()
    slot = Slot(clock)
    running = registry(store, clock, slot)
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
    states = {each.session.id: each.state for each in store.load()}
    assert states == {stopped: State.STOPPED, used_up: State.EXHAUSTED, expiring: State.EXPIRED}


async def test_a_deleted_session_leaves_nothing_and_does_not_come_back(store: Store) -> None:
    running = registry(store, Clock())
    session_id = (await running.start(WHY, "alice")).session.id
    sink = SessionSink(store)
    other = "ba9876543210"
    assert sink.write([exchange(tap_id=session_id), exchange(tap_id=other)]) == {1: Loss.DELETED}
    assert len((await Archive(store).page(session_id, Span())).exchanges) == 1
    await running.delete(session_id, "bob")
    assert sink.write([exchange(tap_id=session_id)]) == {0: Loss.DELETED}
    await running.save_all()
    assert list(store.load()) == []
    with pytest.raises(KeyError):
        running.get(session_id)


async def test_a_session_of_the_command_line_does_not_outlive_its_process(store: Store) -> None:
    clock = Clock()
    await registry(store, clock).begin(replace(session("0123456789ab"), who=COMMAND_LINE))
    slot = Slot(clock)
    after = registry(store, clock, slot)
    after.load()
    found = after.get("0123456789ab")
    assert (found.state, found.ended_by, slot.sessions) == (State.STOPPED, END_OF_SERVICE, ())


async def test_an_expiry_that_a_reader_notices_is_one(store: Store) -> None:
    clock = Clock()
    slot = Slot(clock)
    running = registry(store, clock, slot)
    session_id = (await running.start({**WHY, "limits": {"duration_s": 5}}, "alice")).session.id
    clock.advance(5)
    with running.watching.of(session_id) as woken:
        assert running.get(session_id).state is State.EXPIRED
        assert woken.is_set()
    await running.save_all()
    assert [each.state for each in store.load()] == [State.EXPIRED]


async def test_what_policy_forbids_is_counted_and_not_kept(store: Store) -> None:
    running = registry(store, Clock(), policy=Policy(never_paths=("/orders",)))
    progress = await running.start(WHY, "alice")
    assert running.admit(exchange(tap_id=progress.session.id)) is None
    assert progress.counts["forbidden"] == 1
    assert running.admit(exchange(tap_id="nobody")) is None
    assert counted(running.verdicts) == {"forbidden": 1, "no_session": 1}


def bomb(tap_id: str, size_bytes: int) -> Exchange:
    packed = zlib.compress(b"[%s]" % (b"0," * (size_bytes // 2)), wbits=31)
    return exchange(response=Message((("content-encoding", b"gzip"),), packed), tap_id=tap_id)


async def test_compressed_bodies_are_held_to_the_limits_by_what_is_in_them(store: Store) -> None:
    slot = Slot(Clock())
    running = registry(store, Clock(), slot)
    limits = {"bytes": 200_000, "body_bytes": 65_536}
    progress = await running.start({**WHY, "limits": limits}, "alice")
    async with Collector(SessionSink(store), intake=running) as collector:
        # All of them arrive before the first is opened.
        for trace_id in range(7):
            packed = bomb(progress.session.id, 1 << 20)
            collector.feed(WholeTrace(Key(NODE, packed.tap_id, trace_id), packed.request, packed.response))
    assert (progress.state, progress.ended_by, slot.sessions) == (State.EXHAUSTED, "limit of bytes", ())
    counts = progress.counts
    assert (counts["seen"], counts["captured"], counts["truncated"], counts["over_limit"]) == (7, 3, 3, 4)
    assert 3 * 65_536 < counts["bytes"] < 200_000
    bodies = [each["response"]["body"] for _, each in store.exchanges(progress.session.id, Span())]
    assert [len(body) for body in bodies] == [65_536] * 3


def with_json(tap_id: str, body: bytes) -> Exchange:
    return exchange(Message(((":path", b"/j"),), body), tap_id=tap_id)


async def test_large_bodies_are_judged_in_their_order_by_another_thread(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = registry(store, Clock())
    progress = await running.start({**WHY, "predicate": "request.json[a]=1"}, "alice")
    session_id = progress.session.id
    read_in: list[str] = []
    parse = json.loads

    def noting(body: bytes) -> Any:
        read_in.append(threading.current_thread().name)
        return parse(body)

    monkeypatch.setattr("envoy_tap.core.predicate.jsonpath.json.loads", noting)
    padding = b" " * (100 << 10)
    bodies = [b'{"a": 1}' + padding, b'{"a": 1, "b": 2}', b'{"a": 2}' + padding, b'{"a": 1}', b"{}"]
    async with Collector(SessionSink(store), intake=running) as collector:
        for trace_id, body in enumerate(bodies):
            sent = with_json(session_id, body)
            collector.feed(WholeTrace(Key(NODE, session_id, trace_id), sent.request, sent.response))
        assert progress.counts["seen"] == 0
        assert read_in == []
    assert read_in
    assert threading.current_thread().name not in read_in
    monkeypatch.undo()
    assert (progress.counts["seen"], progress.counts["captured"], progress.counts["unmatched"]) == (5, 3, 2)
    assert [each["trace_id"] for _, each in store.exchanges(session_id, Span())] == ["0", "1", "3"]


async def test_a_session_is_not_over_while_something_waits_to_be_judged(store: Store) -> None:
    running = registry(store, Clock())
    progress = await running.start({**WHY, "predicate": "request.body*=sought"}, "alice")
    session_id = progress.session.id
    async with Collector(SessionSink(store), intake=running) as collector:
        sent = with_json(session_id, b"sought" + bytes(100 << 10))
        collector.feed(WholeTrace(Key(NODE, session_id, 1), sent.request, sent.response))
        # The writer has no turn before this block ends.
        progress.stop(Clock()(), "bob")
        assert not running.is_over(session_id)
    assert running.is_over(session_id)
    assert (progress.counts["seen"], progress.counts["late"]) == (1, 1)


async def test_json_beyond_a_bound_is_not_read_and_fulfils_neither_a_condition_nor_its_contrary(
    store: Store,
) -> None:
    running = registry(store, Clock())
    for predicate in ("request.json[a]=1", "not request.json[a]=1"):
        progress = await running.start({**WHY, "predicate": predicate}, "alice")
        held = b'{"a": %d}'
        smaller, larger = (held % (predicate[0] == "r") + b" " * size for size in (1 << 19, 1 << 20))
        for body in (smaller, larger):
            sent = with_json(progress.session.id, body)
            assert running.admit(sent) is LATER
            running.admit_late(sent, fits=running.fits(sent))
        counts = progress.counts
        assert (counts["captured"], counts["unmatched"], counts["unread"]) == (1, 1, 1)


async def test_what_could_not_be_stored_is_counted_as_dropped(store: Store) -> None:
    running = registry(store, Clock())
    progress = await running.start(WHY, "alice")
    admitted = running.admit(exchange(tap_id=progress.session.id))
    assert isinstance(admitted, Exchange)
    running.lose(admitted, Loss.SINK_ERROR)
    assert (progress.counts["captured"], progress.counts["dropped"], progress.counts["bytes"]) == (0, 1, 0)


async def test_a_session_that_asks_for_what_the_policy_hides_from_now_on_ends(store: Store) -> None:
    slot = Slot(Clock())
    running = registry(store, Clock(), slot)
    asks = (await running.start({**WHY, "predicate": "header[x-ssn]=1"}, "alice")).session.id
    other = (await running.start({**WHY, "predicate": "header[x-a]=1"}, "alice")).session.id
    never = Policy(never_headers=frozenset({"x-ssn"}))
    running.follow(never)
    assert (running.get(asks).state, running.get(asks).ended_by) == (State.STOPPED, POLICY)
    assert [each.id for each in slot.sessions] == [other]
    after = registry(store, Clock(), Slot(Clock()), never)
    after.load()
    assert after.get(asks).state is State.STOPPED
    with pytest.raises(SessionError, match="never lets x-ssn"):
        await after.begin(session("a", 'header[x-ssn] = "1"'))
