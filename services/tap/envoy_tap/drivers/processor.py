"""The other end of the driver `ext_proc`: takes in what Envoy's filter sends, and ends the call when it has enough."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from envoy_sidecar.transport.port import Peer, Service
from envoy_tap.core.annotations import DECIDED, FACTS, SOURCE_ADDRESS, SOURCE_PRINCIPAL, told
from envoy_tap.core.events import Event, Key, Kind, Piece, Side, StreamEnd
from envoy_tap.core.exchange import Exchange, Message, Pairs
from envoy_tap.core.policy import Policy
from envoy_tap.core.predicate import early
from envoy_tap.core.predicate.evaluator import TRACE_ID_BITS, decided
from envoy_tap.core.response_flags import short_flags
from envoy_tap.core.session import Session
from envoy_tap.drivers.ext_proc import METADATA, Introduction
from envoy_tap.wire_ext_proc import Part, decoded

SERVICE_NAME = "envoy.service.ext_proc.v3.ExternalProcessor"

# How much of a request's body beyond the cap is read and thrown away while its answer may still come.
_PATIENCE_BYTES = 1 << 20

_NO_ANSWERS: tuple[bytes, ...] = ()
_PRINCIPALS = tuple(f"connection.{name}_peer_certificate" for name in ("uri_san", "dns_san", "subject"))
_FACTS = {
    "request.protocol": "protocol",
    "destination.address": "local_address",
    "connection.tls_version": "tls_version",
    "connection.requested_server_name": "server_name",
    "xds.route_name": "route",
    "xds.cluster_name": "cluster",
    "upstream.address": "upstream",
}


class Pieces(Protocol):
    """What puts exchanges together: the collector."""

    def next_stream(self) -> int:
        """Return a number for a stream, never given before."""

    def feed(self, event: Event) -> None:
        """Take *event* in."""


class Processor:
    """Serves ExternalProcessor for the sessions that *active* returns, and hands pieces to *intake*.

    Each call carries one exchange. It is ended, with OK, as soon as no session wants it, as the response is complete, or
    as a body is over the cap: Envoy then sends no more of it, and the traffic goes on. What `policy` forbids is let go of;
    it may be replaced, for the calls that begin then.
    """

    def __init__(self, intake: Pieces, active: Callable[[], Sequence[Session]], policy: Policy) -> None:
        self._intake = intake
        self._active = active
        self.policy = policy

    def service(self) -> Service:
        """Return the gRPC service to register with a transport."""
        return Service(SERVICE_NAME, streams={"Process": self.process})

    async def process(self, requests: AsyncIterator[bytes], peer: Peer) -> AsyncGenerator[bytes, None]:
        """Serve one call: ProcessingRequests in, nothing out."""
        call = self._begun(peer)
        if call is None:
            return
        clean = False
        try:
            async for payload in requests:
                part = decoded(payload)
                if part is None:
                    continue
                for piece in call.take(part):
                    self._intake.feed(piece)
                if call.has_enough:
                    clean = True
                    return
            # Envoy reads no answer in observability mode.
            for answer in _NO_ANSWERS:
                yield answer
        finally:
            self._intake.feed(StreamEnd(call.stream, clean, carries_both=True))

    def _begun(self, peer: Peer) -> "_Call | None":
        introduction = Introduction.read(peer.metadata.get(METADATA, ""))
        if introduction is None:
            return None
        wanted = set(introduction.tap_ids)
        sessions = [session for session in self._active() if session.id in wanted]
        return _Call(self._intake.next_stream(), introduction, sessions, self.policy) if sessions else None


@dataclass(slots=True)
class _Want:
    """A session that wants the exchange, what it has decided before redaction, and how much has been kept."""

    session: Session
    key: Key
    decided: str
    kept_bytes: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))


class _Call:
    """One exchange as it comes in."""

    def __init__(
        self, stream: int, introduction: Introduction, sessions: Sequence[Session], policy: Policy
    ) -> None:
        self.stream = stream
        self.has_enough = False
        self._node = introduction.node
        self._sessions = sessions
        self._policy = policy
        self._wants: list[_Want] = []
        self._open = set(Side)
        self._size_bytes = dict.fromkeys(Side, 0)

    def take(self, part: Part) -> Iterator[Piece]:
        """Yield what of *part* is kept, for each session."""
        if part.side is Side.REQUEST and part.kind is Kind.HEADERS:
            self._decide(part)
        if not self._wants:
            self.has_enough = True
            return
        if part.kind is Kind.BODY:
            yield from self._body(part)
        else:
            beside = _annotations(part) if part.kind is Kind.HEADERS else ()
            is_first = part.kind is Kind.HEADERS and part.side is Side.REQUEST
            for want in self._wants:
                found = told({DECIDED: want.decided}) if is_first else ()
                yield Piece(self.stream, want.key, part.side, part.kind, pairs=(*part.pairs, *beside, *found))
        if part.ends:
            self._open.discard(part.side)
        if Side.RESPONSE not in self._open:
            yield from self._last()

    def _decide(self, part: Part) -> None:
        trace_id = secrets.randbits(TRACE_ID_BITS)
        seen = Exchange(
            "",
            self._node,
            trace_id,
            Message(part.pairs),
            None,
            0.0,
            0.0,
            source_address=part.attributes.get("source.address", ""),
            source_principal=_principal(part),
        )
        if self._policy.allows(seen):
            self._wants = [
                _Want(session, Key(self._node, session.id, trace_id), decided(session.predicate, seen))
                for session in self._sessions
                if early(session.predicate, seen) is not False
            ]

    def _body(self, part: Part) -> Iterator[Piece]:
        self._size_bytes[part.side] += len(part.data)
        most = max(want.session.limits.body_bytes for want in self._wants)
        for want in self._wants:
            room = want.session.limits.body_bytes - want.kept_bytes[part.side]
            kept = part.data[: max(0, room)]
            want.kept_bytes[part.side] += len(kept)
            is_cut = len(kept) < len(part.data)
            if kept or is_cut:
                yield Piece(self.stream, want.key, part.side, Kind.BODY, data=kept, truncated=is_cut)
        over_bytes = self._size_bytes[part.side] - most
        # After a response's body only its trailers would come; after a request's the whole answer.
        self.has_enough = over_bytes > (_PATIENCE_BYTES if part.side is Side.REQUEST else 0)

    def _last(self) -> Iterator[Piece]:
        self.has_enough = True
        if Side.REQUEST in self._open:
            # The answer came before the request had ended.
            for want in self._wants:
                yield Piece(self.stream, want.key, Side.REQUEST, Kind.BODY, truncated=True)


def _principal(part: Part) -> str:
    return next((part.attributes[name] for name in _PRINCIPALS if part.attributes.get(name)), "")


def _annotations(part: Part) -> Pairs:
    facts = {FACTS[fact]: part.attributes.get(name, "") for name, fact in _FACTS.items()}
    if part.side is Side.REQUEST:
        facts |= {
            SOURCE_ADDRESS: part.attributes.get("source.address", ""),
            SOURCE_PRINCIPAL: _principal(part),
        }
    flags = part.attributes.get("response.flags", "")
    if flags.isdigit():
        facts[FACTS["response_flags"]] = short_flags(int(flags))
    return told(facts)
