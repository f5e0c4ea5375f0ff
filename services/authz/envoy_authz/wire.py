"""The wire adapter: raw `CheckRequest` bytes in, raw `CheckResponse` bytes out (envoy.service.auth.v3).

The only module of this service that knows the generated messages. What decides is the core; what fails is a denial,
never an RPC error, which Envoy with `failure_mode_allow` would let pass.
"""

import logging
from typing import NamedTuple, Protocol

from google.protobuf.message import DecodeError

from envoy_authz.core.decision import INTERNAL_ERROR, MALFORMED_REQUEST, Decision, Reason
from envoy_authz.core.request import RequestView
from envoy_sidecar.pb import authz_pb2, common_pb2

REASON_HEADER = "x-envoy-authz-reason"
POLICY_HEADER = "x-envoy-authz-policy"

_OK = 0
_PERMISSION_DENIED = 7
LOG = logging.getLogger(__name__)
_parse = authz_pb2.CheckRequest.FromString


class Decider(Protocol):
    """What the adapter asks; `PolicySet` is one. It gives few distinct decision objects, since each is kept."""

    def decide(self, request: RequestView) -> Decision:
        """Return the decision for *request*."""


class Checked(NamedTuple):
    """The answer to a decision: `payload` is the serialized `CheckResponse`.

    `labels` are (`allow` or `deny`, policy, reason), as metrics count them.
    """

    payload: bytes
    labels: tuple[str, str, str]


def allowed_response() -> bytes:
    """Return the answer that lets a request pass: `status` OK and an explicit, empty `ok_response`."""
    return authz_pb2.CheckResponse(
        status=common_pb2.Status(code=_OK), ok_response=authz_pb2.OkHttpResponse()
    ).SerializeToString()


def denied_response(decision: Decision) -> bytes:
    """Return the answer that refuses a request: a non-OK `status` and a `denied_response` that says why.

    The HTTP status is 403, or 400 for a malformed request; the body is the decision's message. There is no
    content-type: Envoy writes text/plain, and makes it a grpc-status with a message for gRPC callers.
    """
    malformed = decision.reason is Reason.MALFORMED_REQUEST
    headers = [_header(REASON_HEADER, decision.reason)]
    if decision.policy:
        headers.append(_header(POLICY_HEADER, decision.policy))
    return authz_pb2.CheckResponse(
        status=common_pb2.Status(code=_PERMISSION_DENIED, message=_printable(decision.message)),
        denied_response=authz_pb2.DeniedHttpResponse(
            status=authz_pb2.HttpStatus(
                code=authz_pb2.HttpStatus.BAD_REQUEST if malformed else authz_pb2.HttpStatus.FORBIDDEN
            ),
            headers=headers,
            body=_printable(decision.message),
        ),
    ).SerializeToString()


def _checked(decision: Decision) -> Checked:
    verdict, payload = (
        ("allow", allowed_response()) if decision.allowed else ("deny", denied_response(decision))
    )
    return Checked(payload, (verdict, decision.policy, decision.reason.value))


def _header(name: str, value: str) -> common_pb2.HeaderValueOption:
    # Unset, Envoy 1.37.0 took this for an append; `append` itself would win over it (envoy.config.core.v3).
    return common_pb2.HeaderValueOption(
        header=common_pb2.HeaderValue(key=name, value=_printable(value)),
        append_action=common_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _printable(text: str) -> str:
    """Return *text* with all but printable ASCII replaced: Envoy turns an invalid header value into a 500."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


_MALFORMED = _checked(MALFORMED_REQUEST)
_FAILED = _checked(INTERNAL_ERROR)


class CheckAdapter:
    """Answers checks by one decider; the answer to each of its decisions is built once and kept."""

    __slots__ = ("_answers", "_decide")

    def __init__(self, decider: Decider) -> None:
        self._decide = decider.decide
        self._answers: dict[Decision, Checked] = {}

    def check(self, payload: bytes) -> Checked:
        """Decide one serialized `CheckRequest`. Never raises: what can't be read or decided is denied."""
        try:
            view = _View(_parse(payload).attributes)
            # The L4 filter sends no HTTP request, and a rule on its path must not match nothing.
            if not view.method:
                return _MALFORMED
            decision = self._decide(view)
            answer = self._answers.get(decision)
            if answer is None:
                answer = self._answers[decision] = _checked(decision)
        except DecodeError:
            return _MALFORMED
        except Exception:
            LOG.exception("a check failed and was denied")
            return _FAILED
        return answer


class _View:
    """A `RequestView` over the message: what few policies ask for is looked up when they do."""

    __slots__ = ("_attributes", "method", "path")

    def __init__(self, attributes: authz_pb2.AttributeContext) -> None:
        http = attributes.request.http
        self._attributes = attributes
        self.method = http.method
        self.path = http.path

    @property
    def source_principal(self) -> str:
        return self._attributes.source.principal
