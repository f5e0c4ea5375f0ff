"""The wire adapter: raw `CheckRequest` bytes in, raw `CheckResponse` bytes out (envoy.service.auth.v3).

The only part of this service that knows the generated messages. What decides is the core; what fails is a denial,
never an RPC error, which Envoy with `failure_mode_allow` would let pass.
"""

from envoy_authz.wire.answers import (
    ID_HEADER,
    POLICY_HEADER,
    REASON_HEADER,
    allowed_response,
    denied_response,
    refused_response,
)
from envoy_authz.wire.check import FAULT_LABELS, TOO_LARGE_ANSWER, CheckAdapter, Checked, Decider
from envoy_authz.wire.recording import Log, Recorder
from envoy_authz.wire.view import View

__all__ = [
    "FAULT_LABELS",
    "ID_HEADER",
    "POLICY_HEADER",
    "REASON_HEADER",
    "TOO_LARGE_ANSWER",
    "CheckAdapter",
    "Checked",
    "Decider",
    "Log",
    "Recorder",
    "View",
    "allowed_response",
    "denied_response",
    "refused_response",
]
