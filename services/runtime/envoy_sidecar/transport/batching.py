"""Running a unary handler over a batch, so that nothing it does wrong reaches a caller as a hang."""

import logging
from collections.abc import Sequence

import grpc

from envoy_sidecar.transport.port import Answer, Call, Failure, UnaryHandler

MAX_BATCH_CALLS = 256
"""How many calls a handler gets at once; what has arrived beyond it waits for the next batch."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest request accepted, gRPC's own default; larger ones are answered RESOURCE_EXHAUSTED."""

LOG = logging.getLogger(__name__)
_INTERNAL = Failure(grpc.StatusCode.INTERNAL, "the handler failed; the service's log says why")


def answer_batch(handler: UnaryHandler, calls: Sequence[Call]) -> Sequence[Answer]:
    """Return the handler's answers; INTERNAL for every call if it raises or answers another number of calls."""
    try:
        answers = handler(calls)
    except Exception:
        LOG.exception("a handler raised on a batch of %d calls", len(calls))
        return [_INTERNAL] * len(calls)
    if len(answers) != len(calls):
        LOG.error("a handler gave %d answers to a batch of %d calls", len(answers), len(calls))
        return [_INTERNAL] * len(calls)
    return answers
