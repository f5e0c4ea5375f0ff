"""Decisions handed to the log: on the hot path only what is short, and no reference to the message."""

import secrets
import time
from collections.abc import Callable
from typing import Protocol

from envoy_authz.authenticators.workloads import workload_of_request
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.decision import Decision
from envoy_authz.core.record import Record
from envoy_authz.core.request import RequestView

_MOST = 4096


class Log(Protocol):
    """Where records go."""

    def wants(self, *, allowed: bool) -> bool:
        """Say whether the next decision is to be recorded."""

    def put(self, record: Record) -> None:
        """Take *record*, or count it as lost; returns at once."""


class Recorder:
    """Makes records; *caller_of* names the caller as policies see it. Used by one thread."""

    __slots__ = ("_caller_of", "_log", "wants")

    def __init__(self, log: Log, caller_of: Callable[[RequestView], str]) -> None:
        self._log = log
        self._caller_of = caller_of
        self.wants = log.wants

    def record(
        self,
        error_id: str,
        decision: Decision,
        view: RequestView | None,
        authentication: Authentication,
        detail: str = "",
    ) -> str:
        """Record *decision* about *view* (None if there was no request to read); return the id, *error_id* if given.

        Of an allowance the caller has asked whether it is wanted; of a denial this asks, as each has an id.
        """
        found = error_id or secrets.token_hex(8)
        if not decision.allowed and not self.wants(allowed=False):
            return found
        why = decision.policy, decision.rule, decision.reason.value, detail[:_MOST]
        if view is None:
            self._log.put(Record(time.time(), found, decision.allowed, *why, "", "", "", "", "", ()))
            return found
        request = view.method[:_MOST], view.path[:_MOST], view.host[:_MOST]
        source = self._caller_of(view), view.source_address
        tokens = tuple(token.principal[:_MOST] for token in authentication.tokens)
        namespace, labels = workload_of_request(view)
        record = Record(time.time(), found, decision.allowed, *why, *request, *source, tokens)
        self._log.put(
            record._replace(
                namespace=namespace,
                labels=None if labels is None else dict(labels),
                port=view.destination_port,
                sni=view.sni,
            )
        )
        return found
