"""What becomes of a trace in the agent: each session decides again over all of it, and gets it redacted."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace

from envoy_tap.core.annotations import DECIDED, SOURCE_ADDRESS, TIME, told
from envoy_tap.core.events import WholeConnection, WholeTrace
from envoy_tap.core.exchange import Exchange, Message, Node
from envoy_tap.core.policy import Policy
from envoy_tap.core.predicate import matches
from envoy_tap.core.predicate.evaluator import TRACE_ID_BITS, decided
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import NOTHING, Style
from envoy_tap.core.session import Session
from envoy_tap.core.sockets import exchange_of_connection

_MICROSECONDS = 1_000_000


class Judge:
    """Decides for *sessions* on *node*; nothing that *policy* forbids is ever kept.

    As in the proxy's script, a session with placeholders is redacted by the collector, which has the key, and bodies in a
    content encoding are, too.
    """

    def __init__(self, node: Node, sessions: Sequence[Session], policy: Policy) -> None:
        self._node = node
        self._policy = policy
        # To decide, any key will do: a placeholder is as good as unknown.
        self._sessions = [
            (session, _redactor(session, policy), Redactor(session.redaction, policy.never_headers, b""))
            for session in sessions
        ]

    def wanted(self, trace: WholeTrace, source_address: str, now_s: float) -> Iterator[Exchange]:
        """Yield *trace* as each session that wants it may have it, at *now_s* (unix seconds)."""
        seen = Exchange(
            "",
            self._node,
            secrets.randbits(TRACE_ID_BITS),
            trace.request,
            trace.response,
            now_s if trace.started_s is None else trace.started_s,
            now_s,
            truncated=trace.truncated,
            incomplete=trace.request is None or trace.response is None,
            source_address=source_address,
        )
        if not self._policy.allows(seen):
            return
        for session, redactor, hiding in self._sessions:
            # Envoy hands over what began in the session before, too.
            is_early = trace.started_s is not None and trace.started_s < session.created_at_s
            if now_s >= session.expires_at_s or is_early or session.socket:
                continue
            bits = decided(session.predicate, seen)
            cut = _cut(seen, session.limits.body_bytes)
            if matches(session.predicate, cut, bits, hiding):
                found = replace(_redacted(redactor, cut), tap_id=session.id)
                yield _annotated(found, bits, is_timed=trace.started_s is not None)

    def wanted_connection(self, connection: WholeConnection, now_s: float) -> Iterator[Exchange]:
        """Yield *connection* as each session that wants it may have it, at *now_s* (unix seconds)."""
        # Envoy counts its connections from 1: no number to take a sample by.
        trace_id = secrets.randbits(TRACE_ID_BITS)
        for session, redactor, _ in self._sessions:
            seen = exchange_of_connection(connection, trace_id, session.limits.body_bytes, now_s)
            is_early = seen.started_s < session.created_at_s
            if now_s >= session.expires_at_s or is_early or not session.socket:
                continue
            if self._policy.allows(seen) and matches(session.predicate, seen):
                yield replace(redactor.redacted(seen), tap_id=session.id)


def _redactor(session: Session, policy: Policy) -> Redactor:
    rules = session.redaction if session.redaction.style is Style.MASK else NOTHING
    return Redactor(rules, policy.never_headers, b"", most_opened_bytes=session.limits.body_bytes)


def _redacted(redactor: Redactor, exchange: Exchange) -> Exchange:
    def half(message: Message | None) -> Message | None:
        if message is None:
            return None
        hidden = redactor.message(message, cut=exchange.truncated)
        encoding = message.first("content-encoding") or b"identity"
        return hidden if encoding.lower() == b"identity" else replace(hidden, body=message.body)

    return replace(exchange, request=half(exchange.request), response=half(exchange.response))


def _cut(exchange: Exchange, most_bytes: int) -> Exchange:
    halves = {"request": exchange.request, "response": exchange.response}
    cut = {
        name: replace(half, body=half.body[:most_bytes])
        for name, half in halves.items()
        if half is not None and len(half.body) > most_bytes
    }
    return replace(exchange, truncated=exchange.truncated or bool(cut), **cut)  # type: ignore[arg-type]


def _annotated(exchange: Exchange, bits: str, *, is_timed: bool) -> Exchange:
    request, response = exchange.request or Message(), exchange.response
    begins = {TIME: str(int(exchange.started_s * _MICROSECONDS))} if is_timed else {}
    ends = {TIME: str(int(exchange.finished_s * _MICROSECONDS))} if is_timed else {}
    beside = told({**begins, DECIDED: bits, SOURCE_ADDRESS: exchange.source_address})
    return replace(
        exchange,
        request=replace(request, headers=(*request.headers, *beside)),
        response=response and replace(response, headers=(*response.headers, *told(ends))),
    )
