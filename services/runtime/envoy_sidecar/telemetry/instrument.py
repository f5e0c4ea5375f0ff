"""Counting and tracing around the unary handlers of a service, once a batch where it can be."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.telemetry.tracing import Tracing
from envoy_sidecar.transport.batching import answer_batch
from envoy_sidecar.transport.port import Answer, Call, Failure, Service, UnaryHandler

LOG = logging.getLogger(__name__)


def instrumented(service: Service, calls: Tally, tracing: Tracing | None) -> Service:
    """Return the same service, whose unary calls are counted by (method, code) and, with *tracing*, become spans."""
    unary = {
        name: _counted(f"{service.name}/{name}", handler, calls) for name, handler in service.unary.items()
    }
    if tracing is not None:
        unary = {name: _traced(f"{service.name}/{name}", handler, tracing) for name, handler in unary.items()}
    return replace(service, unary=unary)


def _counted(method: str, handler: UnaryHandler, tally: Tally) -> UnaryHandler:
    ok = (method, "OK")

    def counted(calls: Sequence[Call]) -> Sequence[Answer]:
        answers = answer_batch(handler, calls)  # so that a handler's failure is counted, and seen in a span
        failures = 0
        if Failure in set(map(type, answers)):
            for answer in answers:
                if isinstance(answer, Failure):
                    failures += 1
                    tally.add((method, answer.code.name))
        if failures < len(answers):
            tally.add(ok, len(answers) - failures)
        return answers

    return counted


def _traced(method: str, handler: UnaryHandler, tracing: Tracing) -> UnaryHandler:
    is_broken = False

    def traced(calls: Sequence[Call]) -> Sequence[Answer]:
        nonlocal is_broken
        started_ns = time.time_ns()
        answers = handler(calls)
        if any(call.traceparent is not None for call in calls):
            try:
                tracing.record(method, calls, answers, started_ns, time.time_ns())
            except Exception:  # what was decided stays decided
                LOG.log(logging.DEBUG if is_broken else logging.ERROR, "spans are lost", exc_info=True)
                is_broken = True
        return answers

    return traced
