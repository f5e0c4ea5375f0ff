"""What viewers read: it is what they ask for, and holds up nobody but viewers."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given

from envoy_tap.archive import Archive
from envoy_tap.core.by_summary import fulfils, is_told
from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.predicate import Expr, matches, parse
from envoy_tap.core.record import as_object, exchange_of, summary
from envoy_tap.core.session import Limits
from envoy_tap.storage.port import Span, Store
from envoy_tap.storage.snapshot import Snapshot
from tests.tap.building import exchange, session
from tests.tap.predicates import combined, exchanges, summary_conditions
from tests.tap.stores import sqlite_store

MORE_THAN_THREADS = 64
AT_MOST_S = 30


class Held:
    """A store that answers when it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def last_seq(self, _session_id: str) -> int:
        self.asked.set()
        self.go.wait(AT_MOST_S)
        return 7


async def test_readings_that_take_their_time_leave_the_threads_of_captures_free() -> None:
    store = Held()
    archive = Archive(cast("Store", store))
    readings = [asyncio.create_task(archive.last_seq("a")) for _ in range(MORE_THAN_THREADS)]
    try:
        assert await asyncio.wait_for(asyncio.to_thread(store.asked.wait, AT_MOST_S), AT_MOST_S)
    finally:
        store.go.set()
    assert await asyncio.gather(*readings) == [7] * MORE_THAN_THREADS


@given(combined(summary_conditions), exchanges())
def test_a_summary_decides_as_the_stored_exchange_does(wanted: Expr, one: Exchange) -> None:
    assert is_told(wanted)
    assert fulfils(wanted, summary(one, 1)) == matches(wanted, exchange_of(as_object(one)))


@pytest.mark.parametrize("text", ["latency>1s", "status=404 and body*=x", "header[x-a]=b", "sample(1%)"])
def test_what_a_summary_does_not_tell_takes_the_exchange(text: str) -> None:
    assert not is_told(parse(text))


def test_a_filter_of_what_summaries_tell_reads_no_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store(tmp_path)
    store.create(Snapshot(session("0123456789ab", now_s=1e9, limits=Limits(exchanges=1200))))
    store.append("0123456789ab", [with_status(200 + number % 2) for number in range(1200)])
    archive = Archive(store)

    def found(text: str, span: Span) -> tuple[list[Mapping[str, Any]], int | None]:
        page = asyncio.run(archive.page("0123456789ab", span, parse(text)))
        return list(page.exchanges), page.next

    by_exchange = {
        newest: found("status=201 and latency>=0us", Span(limit=7, newest=newest)) for newest in (True, False)
    }
    monkeypatch.setattr(store, "exchanges", None)
    for newest in (True, False):
        assert found("status=201", Span(limit=7, newest=newest)) == by_exchange[newest]
    assert [each["seq"] for each in by_exchange[True][0]] == list(range(1188, 1201, 2))
    assert found("status=404", Span(limit=7)) == ([], None)
    assert len(found("status=201", Span(limit=1000))[0]) == 600
    store.close()


def with_status(status: int) -> Exchange:
    return exchange(response=Message(((":status", str(status).encode()),)))
