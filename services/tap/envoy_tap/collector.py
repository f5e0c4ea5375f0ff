"""The sink of StreamTaps: takes in what proxies send, and never makes one of them wait."""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Peer, Service
from envoy_tap.core.assembly import Assembler, Limits
from envoy_tap.core.events import Event, Loss
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.session import LATER, Kept, Later
from envoy_tap.sink import ExchangeSink
from envoy_tap.wire import EMPTY_RESPONSE, StreamDecoder


class Intake(Protocol):
    """Decides what is kept of what was assembled; called on the event loop, and must not block, where it does not say so."""

    def admit(self, exchange: Exchange) -> Exchange | Later | None:
        """Return what is to be stored of *exchange*; None for nothing, and LATER if that takes too long to decide."""

    def fits(self, exchange: Exchange) -> bool:
        """Decide whether *exchange*, which was LATER, is wanted; called in another thread."""

    def admit_late(self, exchange: Exchange, *, fits: bool) -> Exchange | None:
        """Return what is to be stored of *exchange*, which was LATER; *fits*: what was decided."""

    def lose_late(self, exchange: Exchange) -> None:
        """Take note that *exchange*, which was LATER, will not be judged."""

    def redacted(self, exchange: Exchange) -> Exchange:
        """Return *exchange*, which was admitted, as it may be stored; called in another thread."""

    def lose(self, exchange: Exchange, loss: Loss) -> None:
        """Take note that *exchange*, which was admitted, was not stored."""

    def stored(self, exchange: Exchange, kept: Kept) -> None:
        """Take note of how *exchange*, which was admitted, was stored."""


class _Everything:
    """Keeps all as it is."""

    def admit(self, exchange: Exchange) -> Exchange | Later | None:
        return exchange

    def fits(self, exchange: Exchange) -> bool:
        raise NotImplementedError

    def admit_late(self, exchange: Exchange, *, fits: bool) -> Exchange | None:
        raise NotImplementedError

    def lose_late(self, exchange: Exchange) -> None:
        raise NotImplementedError

    def redacted(self, exchange: Exchange) -> Exchange:
        return exchange

    def lose(self, exchange: Exchange, loss: Loss) -> None:
        pass

    def stored(self, exchange: Exchange, kept: Kept) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Queued:
    """`is_late`: it is not judged yet."""

    exchange: Exchange
    size_bytes: int
    is_late: bool = False


SERVICE_NAME = "envoy.service.tap.v3.TapSinkService"
_DEFAULT_LIMITS = Limits()
_MAX_BATCH = 64
# What is redacted is written as soon as there is so much of it: a batch can hold thousands of times its size.
_PART_BYTES = 4 << 20
# A transaction costs as much as several exchanges do: what comes in so soon after the last one shares the next.
_WRITE_INTERVAL_S = 0.02
_EXPIRY_INTERVAL_S = 1.0
LOG = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How much of an exchange was there when it was given out."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    INCOMPLETE = "incomplete"


class Collector:
    """Assembles exchanges from all streams and has one task write them to *sink*, in a thread.

    Used as `async with collector:`, left after the transport has stopped; on leaving, what is still open is stored
    as incomplete and *sink* is closed; that takes `flush_s` seconds, what is not stored by then is lost. *intake* decides what is stored of it; without one all is, as it came.
    The queue between holds at most *max_queued* exchanges and *max_queued_bytes*; what comes when it is full is
    dropped. `exchanges` counts what was assembled by `Outcome` (what is incomplete may be truncated as well), `dropped`
    what was lost by reason (events.Loss); what was handed to a sink that failed counts as lost in whole. A half is
    finished when its RPC stream ends. *clock* gives unix seconds.
    """

    def __init__(
        self,
        sink: ExchangeSink,
        limits: Limits = _DEFAULT_LIMITS,
        *,
        intake: Intake | None = None,
        max_queued: int = 1024,
        max_queued_bytes: int = 64 << 20,
        flush_s: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.exchanges = Tally("tap.exchanges", "Exchanges assembled, by outcome.", ("outcome",))
        self.dropped = Tally(
            "tap.dropped", "What was sent by a proxy but not stored, by reason.", ("reason",)
        )
        self.exchanges.begin((outcome.value,) for outcome in Outcome)
        self.dropped.begin((loss.value,) for loss in Loss)
        self._sink = sink
        self._intake = intake or _Everything()
        self._clock = clock
        self._assembler = Assembler(limits, self._lose)
        self._streams = itertools.count()
        self._queue: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._max_queued = max_queued
        self._max_queued_bytes = max_queued_bytes
        self._arrived = asyncio.Event()
        self._stopping = False
        self._giving_up = False
        self.flush_s = flush_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def service(self) -> Service:
        """Return the gRPC service to register with a transport."""
        return Service(SERVICE_NAME, streams={"StreamTaps": self.stream_taps})

    async def stream_taps(self, requests: AsyncIterator[bytes], _peer: Peer) -> AsyncGenerator[bytes, None]:
        """Serve one StreamTaps stream: StreamTapsRequests in, one empty StreamTapsResponse at the end."""
        decoder = StreamDecoder(self.next_stream(), self._lose)
        clean = False
        try:
            async for payload in requests:
                event = decoder.decode(payload)
                if event is not None:
                    self.feed(event)
            # grpcio ends the requests of a reset stream like any other's, but only a whole stream takes the answer.
            yield EMPTY_RESPONSE
            clean = True
        finally:
            self.feed(decoder.end(clean=clean))

    def next_stream(self) -> int:
        """Return a number for a stream of pieces, never given before; from any thread."""
        return next(self._streams)

    def feed(self, event: Event) -> None:
        """Take in an *event* that a driver of its own protocol decoded."""
        self._enqueue(self._assembler.feed(event, self._clock()))

    def feed_from_thread(self, events: Sequence[Event], losses: Sequence[Loss]) -> None:
        """Take in *events*, and count *losses*, in another thread than the loop's; returns when that is done.

        So one who has much to feed waits while the loop is busy, and finds all that has come meanwhile at once.
        """
        if self._loop is None:
            raise RuntimeError("the collector has not been started")
        done: Future[None] = Future()

        def take() -> None:
            try:
                for loss in losses:
                    self._lose(loss)
                for event in events:
                    self.feed(event)
            except BaseException as error:
                done.set_exception(error)
                raise
            done.set_result(None)

        self._loop.call_soon_threadsafe(take)
        done.result()

    def expire(self) -> None:
        """Give out as incomplete what has waited too long; called every second while the collector runs."""
        self._enqueue(self._assembler.expire(self._clock()))

    def flush(self) -> None:
        """Give out as incomplete all that is still open."""
        self._enqueue(self._assembler.flush())

    async def __aenter__(self) -> Self:
        self._loop = loop = asyncio.get_running_loop()
        self._tasks = (loop.create_task(self._write_all()), loop.create_task(self._expire_regularly()))
        return self

    async def __aexit__(self, *_: object) -> None:
        writer, expirer = self._tasks
        expirer.cancel()
        self.flush()
        self._stopping = True
        self._arrived.set()
        await asyncio.wait((writer,), timeout=self.flush_s)
        # The exchange that is being redacted is finished: no thread can be ended.
        self._giving_up = True
        await asyncio.gather(writer, expirer, return_exceptions=True)
        await asyncio.to_thread(self._sink.close)

    def _lose(self, loss: Loss, amount: int = 1) -> None:
        self.dropped.add((loss.value,), amount)

    def _enqueue(self, done: Iterable[Exchange]) -> None:
        for exchange in done:
            self.exchanges.add((_outcome(exchange).value,))
            admitted = self._intake.admit(exchange)
            if admitted is None:
                continue
            kept = exchange if admitted is LATER else admitted
            queued = _Queued(kept, kept.size_bytes, is_late=admitted is LATER)
            is_full = self._queued_bytes + queued.size_bytes > self._max_queued_bytes
            if is_full or len(self._queue) >= self._max_queued:
                self._drop(queued, Loss.QUEUE_FULL)
                continue
            self._queue.append(queued)
            self._queued_bytes += queued.size_bytes
            self._arrived.set()

    def _drop(self, queued: _Queued, loss: Loss) -> None:
        self._lose(loss)
        if queued.is_late:
            self._intake.lose_late(queued.exchange)
        else:
            self._intake.lose(queued.exchange, loss)

    async def _write_all(self) -> None:
        while (self._queue or not self._stopping) and not self._giving_up:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = list(
                itertools.islice(itertools.takewhile(lambda each: not each.is_late, self._queue), _MAX_BATCH)
            )
            if not batch:
                await self._write(await self._judged(self._queue.popleft()))
                continue
            for _ in batch:
                self._queue.popleft()
            await self._write(batch)
            if len(self._queue) < _MAX_BATCH and not self._stopping:
                await asyncio.sleep(_WRITE_INTERVAL_S)
        self._give_up([self._queue.popleft() for _ in range(len(self._queue))])

    async def _judged(self, late: _Queued) -> Sequence[_Queued]:
        """Return what of *late* is to be stored: it, or nothing."""
        try:
            fits = await asyncio.to_thread(self._intake.fits, late.exchange)
        except Exception:
            LOG.exception("tap: an exchange could not be judged, and is not stored")
            self._queued_bytes -= late.size_bytes
            self._drop(late, Loss.SINK_ERROR)
            return ()
        admitted = self._intake.admit_late(late.exchange, fits=fits)
        if admitted is None:
            self._queued_bytes -= late.size_bytes
            return ()
        return [_Queued(admitted, late.size_bytes)]

    async def _write(self, queued: Sequence[_Queued]) -> None:
        while queued and not self._giving_up:
            outcomes = await asyncio.to_thread(self._store, [each.exchange for each in queued])
            for each, outcome in zip(queued, outcomes, strict=False):
                self._queued_bytes -= each.size_bytes
                if isinstance(outcome, Kept):
                    self._intake.stored(each.exchange, outcome)
                else:
                    self._drop(each, outcome)
            queued = queued[len(outcomes) :]
        self._give_up(queued)

    def _give_up(self, queued: Sequence[_Queued]) -> None:
        for each in queued:
            self._queued_bytes -= each.size_bytes
            self._drop(each, Loss.STOPPED)
        if queued:
            LOG.warning(
                "tap: %d exchanges were not stored in the time that the service had left", len(queued)
            )

    def _store(self, batch: Sequence[Exchange]) -> Sequence[Kept | Loss]:
        """Store the first ones of *batch*, one at least, and return what became of each."""
        part: list[Exchange] = []
        part_bytes = 0
        # Whatever goes wrong with one exchange or one part, the next may go well; the collector outlives it.
        for exchange in batch:
            if part and self._giving_up:
                break
            try:
                part.append(self._intake.redacted(exchange))
            except Exception:
                if part:
                    break
                LOG.exception("tap: an exchange could not be redacted, and is not stored")
                return [Loss.SINK_ERROR]
            part_bytes += part[-1].size_bytes
            if part_bytes >= _PART_BYTES:
                break
        try:
            refused = self._sink.write(part)
        except Exception:
            LOG.exception("tap: %d exchanges could not be stored", len(part))
            return [Loss.SINK_ERROR] * len(part)
        return [refused.get(number) or Kept.of(each) for number, each in enumerate(part)]

    async def _expire_regularly(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            self.expire()


def _outcome(exchange: Exchange) -> Outcome:
    if exchange.incomplete:
        return Outcome.INCOMPLETE
    return Outcome.TRUNCATED if exchange.truncated else Outcome.COMPLETE
