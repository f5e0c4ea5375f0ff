"""Running a unary handler over a batch, so that nothing it does wrong reaches a caller as a hang."""

import logging
import threading
from collections.abc import Sequence

import grpc

from envoy_sidecar.transport.port import Answer, Call, Failure, UnaryHandler

MAX_BATCH_CALLS = 256
"""How many calls a handler gets at once; what has arrived beyond it waits for the next batch."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest request accepted, gRPC's own default; larger ones are answered `Service.too_large`, or RESOURCE_EXHAUSTED."""

LOG = logging.getLogger(__name__)
HANDLER_FAILED = Failure(grpc.StatusCode.INTERNAL, "the handler failed; the service's log says why")

_ANSWERS = frozenset((bytes, Failure))
_JOIN_S = 2.0
TRACEPARENT_LENGTH = 55


def answer_batch(handler: UnaryHandler, calls: Sequence[Call]) -> Sequence[Answer]:
    """Return the handler's answers; INTERNAL for every call if it raises, or answers too few or what is no answer."""
    try:
        answers = handler(calls)
        if len(answers) == len(calls) and set(map(type, answers)) <= _ANSWERS:
            return answers
    except Exception:
        LOG.exception("a handler raised on a batch of %d calls", len(calls))
        return [HANDLER_FAILED] * len(calls)
    kinds = sorted({type(answer).__name__ for answer in answers})
    LOG.error("a handler gave %d answers (%s) to a batch of %d calls", len(answers), kinds, len(calls))
    return [HANDLER_FAILED] * len(calls)


def too_large(size: int) -> Failure:
    """Return the answer to a request of *size* bytes, which is over MAX_MESSAGE_BYTES."""
    message = f"a request of {size} bytes is over {MAX_MESSAGE_BYTES}"
    return Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


def traceparent_or_none(value: object) -> str | None:
    """Return *value* if it has the outline of a W3C traceparent, so that a handler gets the same on every transport."""
    if not isinstance(value, str) or len(value) < TRACEPARENT_LENGTH:
        return None
    return value if value[2] == value[35] == value[52] == "-" else None


def join(dispatcher: threading.Thread) -> None:
    """Wait for a dispatcher that was told to end; one whose handler does not return is left behind (it is a daemon)."""
    dispatcher.join(_JOIN_S)
    if dispatcher.is_alive():
        LOG.error("%s: a handler has not returned; its thread is left behind", dispatcher.name)
