"""Puts exchanges together from interleaved pieces; sans-IO: events and the time in, exchanges out."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

from envoy_tap.core.events import (
    Event,
    Key,
    Kind,
    Loss,
    Piece,
    Side,
    StreamEnd,
    WholeConnection,
    WholeTrace,
)
from envoy_tap.core.exchange import Exchange, Message, Pairs, pairs_size_bytes
from envoy_tap.core.sockets import exchange_of_connection

# What a half costs beside its content and its key, so that empty halves are bounded by `max_total_bytes` too.
_HALF_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is held at once, and how long.

    `max_body_bytes`: of one message; the rest is cut and the exchange marked truncated. `max_open`: exchanges that
    wait for a piece; a half that would open one more is dropped. `max_total_bytes`: of everything held here, headers
    included; what would exceed it is dropped or cut. `timeout_s`: seconds without a piece after which what is there
    is given out as incomplete; a response that takes longer than this comes as an incomplete exchange of its own.
    """

    max_body_bytes: int = 16 << 20
    max_open: int = 4096
    max_total_bytes: int = 64 << 20
    timeout_s: float = 60.0


@dataclass(slots=True)
class _Half:
    side: Side
    started_s: float
    touched_s: float
    cost_bytes: int
    headers: Pairs | None = None
    trailers: Pairs | None = None
    body: bytearray = field(default_factory=bytearray)
    truncated: bool = False
    broken: bool = False

    def message(self) -> Message:
        return Message(self.headers or (), bytes(self.body), self.trailers or ())

    @property
    def incomplete(self) -> bool:
        return self.broken or self.headers is None


class Assembler:
    """Assembles exchanges; holds no more than *limits* allow and says by *on_loss* what it had to let go.

    Pieces of a half belong together by RPC stream and key, the two halves of an exchange by key alone: when a key
    is used twice at a time, halves are paired in the order in which they ended. No event raises.
    """

    def __init__(self, limits: Limits, on_loss: Callable[[Loss], None]) -> None:
        self._limits = limits
        self._on_loss = on_loss
        self._receiving: dict[int, dict[tuple[Key, Side], _Half]] = {}
        self._waiting: dict[Key, deque[_Half]] = {}
        self._halves_of: dict[Key, int] = {}
        self._refused: set[int] = set()
        self._held_bytes = 0

    @property
    def open_exchanges(self) -> int:
        """How many exchanges wait for a piece; at most `Limits.max_open`."""
        return len(self._halves_of)

    @property
    def held_bytes(self) -> int:
        """About how many bytes are held; at most `Limits.max_total_bytes`."""
        return self._held_bytes

    def feed(self, event: Event, now_s: float) -> list[Exchange]:
        """Take *event* in at *now_s* (unix seconds); return the exchanges that it completes, oldest first."""
        match event:
            case Piece():
                self._take(event, now_s)
                return []
            case StreamEnd():
                return self._end(event, now_s)
            case WholeTrace():
                return [self._whole(event, now_s)]
            case WholeConnection():
                most_bytes = self._limits.max_body_bytes
                return [exchange_of_connection(event, event.key.trace_id, most_bytes, now_s)]

    def expire(self, now_s: float) -> list[Exchange]:
        """Return what has waited for `Limits.timeout_s` without a piece, as incomplete exchanges."""
        return self._give_up(untouched_since_s=now_s - self._limits.timeout_s)

    def flush(self) -> list[Exchange]:
        """Return everything that is held, as incomplete exchanges; for the end of the service."""
        return self._give_up(untouched_since_s=inf)

    def _take(self, piece: Piece, now_s: float) -> None:
        half = self._half_of(piece, now_s)
        if half is None:
            return
        half.touched_s = now_s
        half.truncated = half.truncated or piece.truncated
        match piece.kind:
            case Kind.HEADERS if half.headers is None:
                half.headers = self._admit(half, piece.pairs)
            case Kind.TRAILERS if half.trailers is None:
                half.trailers = self._admit(half, piece.pairs)
            case Kind.BODY:
                self._append(half, piece.data)
            case _:
                self._on_loss(Loss.DUPLICATE)

    def _half_of(self, piece: Piece, now_s: float) -> _Half | None:
        place = (piece.key, piece.side)
        half = self._receiving.get(piece.stream, {}).get(place)
        if half is not None:
            return half
        if piece.stream in self._refused and piece.kind is not Kind.HEADERS:
            # The rest of a half whose beginning was dropped, and counted then: without headers it helps nobody.
            return None
        is_new = piece.key not in self._halves_of
        if is_new and len(self._halves_of) >= self._limits.max_open:
            self._refuse(piece.stream, Loss.OPEN_EXCHANGES)
            return None
        cost_bytes = _HALF_OVERHEAD_BYTES + piece.key.size_bytes
        if self._held_bytes + cost_bytes > self._limits.max_total_bytes:
            self._refuse(piece.stream, Loss.TOTAL_BYTES)
            return None
        self._refused.discard(piece.stream)
        self._held_bytes += cost_bytes
        self._halves_of[piece.key] = self._halves_of.get(piece.key, 0) + 1
        half = _Half(piece.side, now_s, now_s, cost_bytes)
        self._receiving.setdefault(piece.stream, {})[place] = half
        return half

    def _refuse(self, stream: int, loss: Loss) -> None:
        self._on_loss(loss)
        self._refused.add(stream)

    def _admit(self, half: _Half, pairs: Pairs) -> Pairs:
        cost_bytes = pairs_size_bytes(pairs)
        if self._held_bytes + cost_bytes > self._limits.max_total_bytes:
            self._on_loss(Loss.TOTAL_BYTES)
            half.truncated = True
            return ()
        self._charge(half, cost_bytes)
        return pairs

    def _append(self, half: _Half, data: bytes) -> None:
        room_bytes = self._limits.max_body_bytes - len(half.body)
        free_bytes = self._limits.max_total_bytes - self._held_bytes
        if len(data) > free_bytes and room_bytes > free_bytes:
            self._on_loss(Loss.TOTAL_BYTES)
        kept = data[: min(room_bytes, free_bytes)]
        half.truncated = half.truncated or len(kept) < len(data)
        half.body += kept
        self._charge(half, len(kept))

    def _charge(self, half: _Half, cost_bytes: int) -> None:
        half.cost_bytes += cost_bytes
        self._held_bytes += cost_bytes

    def _end(self, end: StreamEnd, now_s: float) -> list[Exchange]:
        self._refused.discard(end.stream)
        done: list[Exchange] = []
        halves = self._receiving.pop(end.stream, {})
        for (key, _), half in halves.items():
            half.broken = half.broken or not end.clean
            half.touched_s = now_s
            done += self._pair(key, half)
        if end.carries_both:
            for key in {key for key, _ in halves}:
                done += [self._join(key, [half]) for half in self._waiting.pop(key, ())]
        return done

    def _pair(self, key: Key, half: _Half) -> list[Exchange]:
        waiting = self._waiting.setdefault(key, deque())
        if waiting and waiting[0].side is not half.side:
            partner = waiting.popleft()
            if not waiting:
                del self._waiting[key]
            return [self._join(key, [partner, half])]
        waiting.append(half)
        return []

    def _give_up(self, *, untouched_since_s: float) -> list[Exchange]:
        done: list[Exchange] = []
        for stream, halves in list(self._receiving.items()):
            for place, half in list(halves.items()):
                if half.touched_s <= untouched_since_s:
                    del halves[place]
                    half.broken = True
                    self._refused.add(stream)
                    done += self._pair(place[0], half)
            if not halves:
                del self._receiving[stream]
        for key, waiting in list(self._waiting.items()):
            while waiting and waiting[0].touched_s <= untouched_since_s:
                done.append(self._join(key, [waiting.popleft()]))
            if not waiting:
                del self._waiting[key]
        return sorted(done, key=lambda exchange: exchange.started_s)

    def _join(self, key: Key, halves: list[_Half]) -> Exchange:
        by_side = {half.side: half for half in halves}
        for half in halves:
            self._held_bytes -= half.cost_bytes
            self._halves_of[key] -= 1
        if not self._halves_of[key]:
            del self._halves_of[key]
        request, response = by_side.get(Side.REQUEST), by_side.get(Side.RESPONSE)
        return Exchange(
            tap_id=key.tap_id,
            node=key.node,
            trace_id=key.trace_id,
            request=None if request is None else request.message(),
            response=None if response is None else response.message(),
            started_s=min(half.started_s for half in halves),
            finished_s=max(half.touched_s for half in halves),
            truncated=any(half.truncated for half in halves),
            incomplete=len(by_side) < len(Side) or any(half.incomplete for half in halves),
        )

    def _whole(self, trace: WholeTrace, now_s: float) -> Exchange:
        limit_bytes = self._limits.max_body_bytes
        messages = [message for message in (trace.request, trace.response) if message is not None]

        def capped(message: Message | None) -> Message | None:
            return message and replace(message, body=message.body[:limit_bytes])

        return Exchange(
            tap_id=trace.key.tap_id,
            node=trace.key.node,
            trace_id=trace.key.trace_id,
            request=capped(trace.request),
            response=capped(trace.response),
            started_s=now_s if trace.started_s is None else trace.started_s,
            finished_s=now_s,
            truncated=trace.truncated or any(len(message.body) > limit_bytes for message in messages),
            incomplete=len(messages) < len(Side),
        )
