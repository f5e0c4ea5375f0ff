"""One check: the bytes of a request to the bytes of its answer, whatever they are."""

import logging
import secrets
import time
from typing import NamedTuple, Protocol

from google.protobuf.message import DecodeError

from envoy_authz.core.authentication import ANONYMOUS, Authentication, Authenticator, Refusal
from envoy_authz.core.decision import (
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    TOO_LARGE,
    Ambiguity,
    Decision,
    Outcome,
    Reason,
)
from envoy_authz.core.request import RequestView
from envoy_authz.wire.answers import allowed_response, denied_response, refused_response, response_id
from envoy_authz.wire.recording import Recorder
from envoy_authz.wire.view import View
from envoy_sidecar.pb import authz_pb2

LOG = logging.getLogger(__name__)
_parse = authz_pb2.CheckRequest.FromString

Labels = tuple[str, str, str]


class Decider(Protocol):
    """What the adapter asks; `PolicySet` is one. It gives few distinct decision objects, since each is kept."""

    def evaluate(self, request: RequestView, authentication: Authentication) -> Outcome:
        """Return the decision for *request*."""


class Checked(NamedTuple):
    """The answer to a check: `payload` is the serialized `CheckResponse`.

    `labels` are (`allow` or `deny`, policy, reason), as metrics count them, and `observed` the same of what changed
    nothing: audits, dry runs, ambiguities that are only reported. `error_id` is set when the service itself failed,
    and `refusal` is why the caller's proof of who it is was refused.
    """

    payload: bytes
    labels: Labels
    observed: tuple[Labels, ...] = ()
    error_id: str = ""
    refusal: str = ""


_REPORTS_A_SECOND = 20
_MALFORMED = Checked(denied_response(MALFORMED_REQUEST), ("deny", "", Reason.MALFORMED_REQUEST.value))
_ALLOWED = allowed_response()
_UNAUTHENTICATED = Decision(allowed=False, reason=Reason.UNAUTHENTICATED, message="")
FAULT_LABELS: Labels = ("deny", "", Reason.INTERNAL_ERROR.value)
"""What a check that failed by a fault of ours is counted under."""
TOO_LARGE_ANSWER = denied_response(TOO_LARGE)
"""The answer to a message that no transport hands over; an RPC error would be let pass by an Envoy that fails open."""
_KEPT_ANSWERS = 10_000
_KEPT_BYTES = 4096


class CheckAdapter:
    """Answers checks by one decider; the answer to each of its decisions is built once and kept.

    With an *authenticator* each request is authenticated first: a refusal is the answer, and what it found is what
    policies compare and the upstream gets. With a *recorder* decisions are logged, and each denial carries its id.
    """

    __slots__ = ("_allowed", "_answers", "_authenticate", "_evaluate", "_placeholder", "_recorder")

    def __init__(
        self,
        decider: Decider,
        authenticator: Authenticator | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._evaluate = decider.evaluate
        self._authenticate = None if authenticator is None else authenticator.authenticate
        self._answers: dict[Decision, Checked] = {}
        self._allowed = _AllowedAnswers()
        self._recorder = recorder
        # Stands in kept answers for the id, which has the same length; nobody outside can know it.
        self._placeholder = "" if recorder is None else secrets.token_hex(8)

    def check(self, payload: bytes) -> Checked:
        """Decide one serialized `CheckRequest`. Never raises: what can't be read or decided is denied."""
        view: View | None = None
        authentication = ANONYMOUS
        try:
            view = View(_parse(payload).attributes)
            # The L4 filter sends no HTTP request, and a rule on its path must not match nothing.
            if not view.method:
                return self._unread(view)
            if self._authenticate is not None:
                authentication = self._authenticate(view)
                if authentication.refusal is not None:
                    return self._refused(authentication.refusal, view)
            return self._decided(view, authentication)
        except DecodeError:
            return self._unread(None)
        except KeyboardInterrupt:
            raise
        except BaseException:  # so are a panic of a library in Rust (cryptography) and the exit of a plug-in
            error_id = secrets.token_hex(8)
            LOG.exception("a check failed and was denied", extra={"error_id": error_id})
            return self._failed(error_id, view)

    def _decided(self, view: View, authentication: Authentication) -> Checked:
        outcome = self._evaluate(view, authentication)
        decision = outcome.decision
        checked = self._answers.get(decision)
        if checked is None:
            checked = self._build(decision, view)
        if outcome.observed or outcome.ambiguity is not None:
            checked = checked._replace(observed=_observed(outcome))
        if decision.allowed:
            if outcome.changes is not None:
                checked = checked._replace(payload=allowed_response(authentication, outcome.changes))
            elif authentication is not ANONYMOUS:
                checked = Checked(self._allowed.get(authentication), checked.labels, checked.observed)
        recorder = self._recorder
        if recorder is not None and (
            checked.observed or not decision.allowed or recorder.wants(allowed=True)
        ):
            detail = "" if outcome.ambiguity is None else outcome.ambiguity.other
            found = recorder.record(outcome, view, authentication, detail=detail, observed=checked.observed)
            checked = self._named(checked, decision, found)
        return checked

    def _build(self, decision: Decision, view: RequestView) -> Checked:
        if decision.allowed:
            checked = Checked(_ALLOWED, ("allow", decision.policy, decision.reason.value))
        else:
            is_grpc = decision.response is not None and (
                view.header("content-type") or ""
            ).lower().startswith("application/grpc")
            payload = denied_response(decision, is_grpc=is_grpc, decision_id=self._placeholder)
            checked = Checked(payload, ("deny", decision.policy, decision.reason.value))
            if decision.response is not None:
                return checked  # it depends on the caller
        # A plug-in may make a new one each time.
        if len(self._answers) >= _KEPT_ANSWERS:
            self._answers.clear()
        self._answers[decision] = checked
        return checked

    def _named(self, checked: Checked, decision: Decision, decision_id: str) -> Checked:
        if decision.allowed:
            return checked._replace(payload=checked.payload + response_id(decision_id))
        payload = checked.payload.replace(self._placeholder.encode(), decision_id.encode())
        return checked._replace(payload=payload)

    def _unread(self, view: View | None) -> Checked:
        if self._recorder is None:
            return _MALFORMED
        decision_id = self._recorder.record(Outcome(MALFORMED_REQUEST), view)
        return _MALFORMED._replace(payload=denied_response(MALFORMED_REQUEST, decision_id=decision_id))

    def _refused(self, refusal: Refusal, view: View) -> Checked:
        decision_id = ""
        if self._recorder is not None:
            decision_id = self._recorder.record(Outcome(_UNAUTHENTICATED), view, detail=refusal.reason)
        labels = ("deny", "", Reason.UNAUTHENTICATED.value)
        return Checked(refused_response(refusal, decision_id), labels, refusal=refusal.reason)

    def _failed(self, error_id: str, view: View | None) -> Checked:
        if self._recorder is not None:
            try:
                self._recorder.record(Outcome(INTERNAL_ERROR), view, error_id=error_id)
            except KeyboardInterrupt:
                raise
            except BaseException:  # what failed may well fail again when it is described
                LOG.exception("a decision could not be recorded", extra={"error_id": error_id})
        payload = denied_response(INTERNAL_ERROR, error_id=error_id)
        return Checked(payload, FAULT_LABELS, error_id=error_id)


class _AllowedAnswers:
    """The answers for the last authentications that were allowed: a token that is remembered has the same object.

    The object is kept with its answer, or another one might be made at its address. What is rarely the same is large
    or made for one request (`cookie`), and goes as it came.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Authentication, bytes]] = {}

    def get(self, authentication: Authentication) -> bytes:
        kept = self._kept.get(id(authentication))
        if kept is not None:
            return kept[1]
        payload = allowed_response(authentication)
        if len(payload) <= _KEPT_BYTES:
            if len(self._kept) >= _KEPT_ANSWERS:
                del self._kept[next(iter(self._kept))]
            self._kept[id(authentication)] = authentication, payload
        return payload


def _observed(outcome: Outcome) -> tuple[Labels, ...]:
    found: list[Labels] = [
        ("allow" if one.allowed else "deny", one.policy, one.reason.value) for one in outcome.observed
    ]
    if outcome.ambiguity is not None:
        _report(outcome.ambiguity, outcome.decision)
        if outcome.decision.allowed:
            found.append(("deny", outcome.ambiguity.denied.policy, Reason.AMBIGUOUS_PATH.value))
    return tuple(found)


class _Budget:
    """How many lines may still be written this second: anybody can send what is reported, and all of it is counted."""

    __slots__ = ("_left", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._left = 0

    def take(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, _REPORTS_A_SECOND
        self._left -= 1
        return self._left >= 0


_BUDGET = _Budget()


def _report(ambiguity: Ambiguity, decision: Decision) -> None:
    if not _BUDGET.take():
        return
    LOG.warning(
        "a %s has two readings that are decided differently, and was %s",
        ambiguity.what,
        "allowed" if decision.allowed else "denied",
        extra={
            "reading": ambiguity.primary[:512],
            "other_reading": ambiguity.other[:512],
            "policy": ambiguity.denied.policy,
            "rule": ambiguity.denied.rule,
            "reason": ambiguity.denied.reason.value,
        },
    )
