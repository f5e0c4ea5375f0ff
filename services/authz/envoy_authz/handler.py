"""The unary handler of `envoy.service.auth.v3.Authorization/Check`: batches in, answers out, decisions counted."""

import time
from collections.abc import Sequence
from typing import Literal

import grpc

from envoy_authz.core.authentication import Authenticator
from envoy_authz.core.decide import PolicySet
from envoy_authz.wire import FAULT_LABELS, TOO_LARGE_ANSWER, CheckAdapter, Decider, Recorder
from envoy_sidecar.telemetry.instruments import Histogram, Instrument
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Answer, Call, Failure, Service

SERVICE_NAME = "envoy.service.auth.v3.Authorization"

LABELS_A_POLICY = 4
"""Label sets that one policy may need: what it decides, an ambiguous path, a dry run or an audit."""

OnError = Literal["deny", "rpc"]


def decisions_tally() -> Tally:
    """Return the counter of decisions: `decision` is allow or deny, `policy` the one that decided, or empty."""
    tally = Tally("authz.decisions", "Checks decided.", ("decision", "policy", "reason"), keep=1)
    tally.begin([FAULT_LABELS])
    return tally


def observed_tally() -> Tally:
    """Return the counter of what changed nothing: audits, dry runs, ambiguous paths that are only reported."""
    return Tally(
        "authz.observed",
        "What policies found that are not enforced.",
        ("decision", "policy", "reason"),
        keep=1,
    )


_BOUNDS_S = (5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.25)


def refusals_tally() -> Tally:
    """Return the counter of refused tokens, keys and certificates, by why; plug-ins have words of their own."""
    return Tally("authz.refusals", "Callers refused before policies were asked.", ("reason",), cap=100)


def latency_histogram() -> Histogram:
    """Return the histogram of how long a decision took; that of each is the mean of its batch."""
    return Histogram("authz.latency.seconds", "How long decisions took, without the transport.", _BOUNDS_S)


def make_room(tally: Tally, policies: int) -> None:
    """Let *tally* count each of so many policies under its own name, beside what it counts already."""
    tally.cap = max(tally.cap, len(tally.counts) + LABELS_A_POLICY * policies)


class Authorizer:
    """Answers checks by the current policies, which may be swapped from any thread while it runs.

    `decisions` counts every check, `observed` what was not enforced, `refusals` why callers were not believed; they are
    written by the thread that calls, and by no other. A fault of the service is a denial, or with *on_error* `rpc` an RPC error, which an Envoy that
    fails open takes for an allowance.
    """

    _current: tuple[PolicySet, CheckAdapter]
    __slots__ = ("_current", "_on_error", "decisions", "latency", "observed", "refusals")

    def __init__(
        self,
        policies: PolicySet,
        decisions: Tally | None = None,
        *,
        authenticator: Authenticator | None = None,
        on_error: OnError = "deny",
        decider: Decider | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.decisions = decisions_tally() if decisions is None else decisions
        self.observed = observed_tally()
        self._on_error = on_error
        self.refusals = refusals_tally()
        self.latency = latency_histogram()
        self.swap(policies, authenticator, decider=decider, recorder=recorder)

    @property
    def policies(self) -> PolicySet:
        """The policies that decide now."""
        return self._current[0]

    @property
    def tallies(self) -> tuple[Instrument, ...]:
        """All that is counted here."""
        return self.decisions, self.observed, self.refusals, self.latency

    def swap(
        self,
        policies: PolicySet,
        authenticator: Authenticator | None = None,
        *,
        decider: Decider | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Decide by *policies* from the next batch on; a batch under way is decided by the old ones to its end.

        *decider* is what is asked in their place: the same policies with plug-ins before them.
        """
        for tally in (self.decisions, self.observed):
            make_room(tally, len(policies.policies))
        self._current = (policies, CheckAdapter(decider or policies, authenticator, recorder))

    def service(self) -> Service:
        """Return what a transport serves."""
        return Service(SERVICE_NAME, unary={"Check": self}, too_large=TOO_LARGE_ANSWER)

    def __call__(self, calls: Sequence[Call]) -> list[Answer]:
        """Answer each call with a serialized `CheckResponse`, in their order. Never raises."""
        began_ns = time.perf_counter_ns()
        check = self._current[1].check
        count = self.decisions.add
        answers: list[Answer] = []
        for call in calls:
            checked = check(call.payload)
            count(checked.labels)
            for labels in checked.observed:
                self.observed.add(labels)
            if checked.refusal:
                self.refusals.add((checked.refusal,))
            if checked.error_id and self._on_error == "rpc":
                message = f"the authorization service failed (id {checked.error_id})"
                answers.append(Failure(grpc.StatusCode.INTERNAL, message))
            else:
                answers.append(checked.payload)
        if calls:
            each_s = (time.perf_counter_ns() - began_ns) / 1e9 / len(calls)
            self.latency.add(each_s, len(calls))
        return answers
