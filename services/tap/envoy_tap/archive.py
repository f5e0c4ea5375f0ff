"""What was captured, as operators read it: pages, single exchanges, and what a predicate finds among them."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

from envoy_tap.core.by_summary import fulfils, is_told
from envoy_tap.core.predicate import Expr, matches
from envoy_tap.core.record import exchange_of, summary
from envoy_tap.storage.port import MAX_SEQ, Span, Store

_CHUNK = 64
_MAX_SCANNED = 5000
_SUMMARIES = 512
_MAX_SUMMARIES = 50_000
PREVIEWED = 500
_THREADS = 2
"""How many readings are done at once, of all viewers."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NoExchangeError(KeyError):
    """A session has no exchange of that number."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some exchanges of a session, ascending.

    `last` is the number of the session's newest. `end` is that of the last one that was looked at, in the direction
    of the span; `next` is the same, None when there is nothing beyond.
    """

    exchanges: Sequence[Mapping[str, Any]]
    last: int
    end: int
    next: int | None


class Archive:
    """Reads from *store*, in threads. All methods raise KeyError for a session that is not kept, and OSError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Of their own: a filter over many exchanges takes seconds, and what is captured must not wait for a thread.
        self._threads = ThreadPoolExecutor(_THREADS, "archive")

    async def page(
        self, session_id: str, span: Span, wanted: Expr | None = None, *, whole: bool = False
    ) -> Page:
        """Return the summaries in *span* that fulfil *wanted*; with *whole* the exchanges, each with its `seq`.

        With a predicate at most 5000 exchanges are looked through at once, or 50,000 summaries if these tell what it
        asks for (`core.by_summary`); `Page.next` says where to go on.
        """
        return await self._in_thread(self._page, session_id, span, wanted, whole=whole)

    async def one(self, session_id: str, seq: int) -> Mapping[str, Any]:
        """Return an exchange (`core.record.as_object`); raises NoExchangeError if there is none."""
        span = Span(after=seq - 1, before=seq + 1, limit=1)
        found = await self._in_thread(self._store.exchanges, session_id, span)
        if not found:
            raise NoExchangeError(f"{session_id}/{seq}")
        return found[0][1]

    async def last_seq(self, session_id: str) -> int:
        """Return the number of a session's newest exchange, 0 without one."""
        return await self._in_thread(self._store.last_seq, session_id)

    async def preview(self, session_ids: Sequence[str], wanted: Expr) -> tuple[int, int]:
        """Return how many of the newest exchanges of these sessions were looked at, and how many fulfil *wanted*."""
        return await self._in_thread(self._preview, session_ids, wanted)

    async def _in_thread(self, do: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(do, *arguments, **named)
        )

    def walk(
        self, session_id: str, ranges: Sequence[tuple[int, int]] = ((1, MAX_SEQ),), wanted: Expr | None = None
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the exchanges whose numbers are in *ranges* (first and last) and that fulfil *wanted*; in a thread."""
        for first, last in ranges:
            after = first - 1
            while chunk := self._store.exchanges(
                session_id, Span(after, min(last + 1, MAX_SEQ), limit=_CHUNK)
            ):
                after = chunk[-1][0]
                yield from (each for each in chunk if wanted is None or matches(wanted, exchange_of(each[1])))

    def _page(self, session_id: str, span: Span, wanted: Expr | None, *, whole: bool) -> Page:
        last = self._store.last_seq(session_id)
        if wanted is None and not whole:
            found = list(self._store.summaries(session_id, span))
            numbers = [each["seq"] for each in found]
            end = (min(numbers) if span.newest else max(numbers)) if numbers else None
        else:
            found, end = self._scanned(session_id, span, wanted, whole=whole)
        if span.newest:
            end = 1 if end is None else end
            return Page(found, last, end, end if end > max(1, span.after + 1) else None)
        end = max(span.after, last) if end is None else end
        return Page(found, last, end, end if end < min(last, span.before - 1) else None)

    def _scanned(
        self, session_id: str, span: Span, wanted: Expr | None, *, whole: bool
    ) -> tuple[list[Mapping[str, Any]], int | None]:
        """Return what fits, and the number of the last that was looked at; None: there was nothing more to look at."""
        found: list[Mapping[str, Any]] = []
        by_summary = wanted is not None and not whole and is_told(wanted)
        looked_at = self._by_summary if by_summary else partial(self._by_exchange, whole=whole)
        left, most = (_MAX_SUMMARIES, _SUMMARIES) if by_summary else (_MAX_SCANNED, _CHUNK)
        rest = span
        at: int | None = None
        while left > 0 and len(found) < span.limit:
            chunk = looked_at(session_id, replace(rest, limit=min(most, left)), wanted)
            if not chunk:
                at = None
                break
            for seq, fitting in reversed(chunk) if span.newest else chunk:
                if len(found) == span.limit:
                    break
                at = seq
                left -= 1
                if fitting is not None:
                    found.append(fitting)
            if at is not None:
                rest = replace(rest, before=at) if span.newest else replace(rest, after=at)
        return (found[::-1] if span.newest else found), at

    def _by_summary(
        self, session_id: str, span: Span, wanted: Expr | None
    ) -> Sequence[tuple[int, Mapping[str, Any] | None]]:
        return [
            (each["seq"], each if wanted is None or fulfils(wanted, each) else None)
            for each in self._store.summaries(session_id, span)
        ]

    def _by_exchange(
        self, session_id: str, span: Span, wanted: Expr | None, *, whole: bool
    ) -> Sequence[tuple[int, Mapping[str, Any] | None]]:
        return [
            (seq, _fitting(seq, data, wanted, whole=whole))
            for seq, data in self._store.exchanges(session_id, span)
        ]

    def _preview(self, session_ids: Sequence[str], wanted: Expr) -> tuple[int, int]:
        of = matched = 0
        for session_id in session_ids:
            for _, data in self._store.exchanges(session_id, Span(limit=_CHUNK, newest=True)):
                of += 1
                matched += matches(wanted, exchange_of(data))
            if of >= PREVIEWED:
                break
        return of, matched


def _fitting(
    seq: int, data: Mapping[str, Any], wanted: Expr | None, *, whole: bool
) -> Mapping[str, Any] | None:
    exchange = exchange_of(data)
    if wanted is not None and not matches(wanted, exchange):
        return None
    return {"seq": seq, **data} if whole else summary(exchange, seq)
