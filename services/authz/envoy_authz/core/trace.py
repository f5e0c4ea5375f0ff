"""Which attributes a decision read, on demand: a decision made again over a view that writes down what it is asked."""

from collections.abc import Mapping
from typing import NamedTuple

from envoy_authz.core.authentication import ANONYMOUS, Authentication
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.decision import Outcome
from envoy_authz.core.request import RequestView


class Trace(NamedTuple):
    """An outcome, and what was read for it: by the names of `RequestView`, headers as `header(name)`.

    Values are those of the request, secrets among them. What an index found needless to ask is not in it.
    """

    outcome: Outcome
    reads: Mapping[str, object]


def trace(policies: PolicySet, request: RequestView, authentication: Authentication = ANONYMOUS) -> Trace:
    """Decide *request* as `PolicySet.evaluate` does, and tell what was read."""
    reads: dict[str, object] = {}
    outcome = policies.evaluate(_Recorder(request, reads), authentication)  # type: ignore[arg-type] # by __getattr__
    if authentication.tokens:
        reads["tokens"] = [token.principal for token in authentication.tokens]
    return Trace(outcome, reads)


class _Recorder:
    """Any `RequestView`, written down."""

    __slots__ = ("_reads", "_request")

    def __init__(self, request: RequestView, reads: dict[str, object]) -> None:
        self._request = request
        self._reads = reads

    def __getattr__(self, name: str) -> object:
        value = getattr(self._request, name)
        if not callable(value):
            self._reads[name] = value
        return value

    def header(self, name: str) -> str | None:
        value = self._request.header(name)
        self._reads[f"header({name})"] = value
        return value
