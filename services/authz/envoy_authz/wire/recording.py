"""Decisions handed to the log: on the hot path only what is short, and no reference to the message."""

import secrets
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from envoy_authz.authenticators.workloads import workload_of_request
from envoy_authz.core.attributes import parse_key
from envoy_authz.core.authentication import ANONYMOUS, Authentication
from envoy_authz.core.bodies import Unreadable
from envoy_authz.core.decision import Outcome
from envoy_authz.core.facts import Facts
from envoy_authz.core.record import Record, Seen
from envoy_authz.core.request import RequestView

_MOST = 2048
_SHORT = 256
_MANY = 16


class Log(Protocol):
    """Where records go."""

    def wants(self, *, allowed: bool) -> bool:
        """Say whether the next decision is to be recorded."""

    def put(self, record: Record) -> None:
        """Take *record*, or count it as lost; returns at once."""


class Recorder:
    """Makes records; *facts_of* gives what policies compare. Used by one thread.

    *attributes* are the keys (as in `when`) whose values are recorded. Raises ValueError for one that is none.
    """

    __slots__ = ("_attributes", "_facts_of", "_log", "wants")

    def __init__(
        self,
        log: Log,
        facts_of: Callable[[RequestView, Authentication], Facts],
        attributes: Sequence[str] = (),
    ) -> None:
        self._log = log
        self._facts_of = facts_of
        self._attributes = [(key, parse_key(key).values) for key in attributes]
        self.wants = log.wants

    def record(
        self,
        outcome: Outcome,
        view: RequestView | None,
        authentication: Authentication = ANONYMOUS,
        *,
        error_id: str = "",
        detail: str = "",
        observed: Sequence[tuple[str, str, str]] = (),
    ) -> str:
        """Record *outcome* about *view* (None if there was no request to read); return the id, *error_id* if given.

        *observed* are (`allow` or `deny`, policy, reason). Of an allowance with which nothing was observed, the caller
        has asked whether it is wanted; of all else this asks.
        """
        decision = outcome.decision
        found = error_id or secrets.token_hex(8)
        if (observed or not decision.allowed) and not self.wants(allowed=False):
            return found
        record = Record(
            time.time(),
            found,
            decision.allowed,
            decision.policy,
            decision.rule,
            decision.reason.value,
            detail[:_MOST],
            tokens=tuple(token.principal[:_MOST] for token in islice(authentication.tokens, _MANY)),
            reads=decision.reads,
            observed=tuple(Seen(policy, verdict, reason) for verdict, policy, reason in observed),
        )
        self._log.put(record if view is None else self._with_request(record, view, authentication))
        return found

    def _with_request(self, record: Record, view: RequestView, authentication: Authentication) -> Record:
        facts = self._facts_of(view, authentication)
        namespace, labels = workload_of_request(view)
        return record._replace(
            method=view.method[:_SHORT],
            path=view.path[:_MOST],
            host=view.host[:_SHORT],
            principal=facts.caller[:_MOST],
            address=view.source_address[:_SHORT],
            namespace=namespace[:_SHORT],
            labels=None if labels is None else dict(islice(labels.items(), _MANY)),
            port=view.destination_port,
            sni=view.sni[:_SHORT],
            attributes=tuple((key, _short(get(facts))) for key, get in self._attributes),
        )


def _short(values: list[str] | Unreadable) -> tuple[str, ...]:
    return () if isinstance(values, Unreadable) else tuple(value[:_SHORT] for value in values[:_MANY])
