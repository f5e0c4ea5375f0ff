"""A span per request, only for callers whose trace is sampled, and only when OTLP is configured."""

import re
from collections.abc import Sequence

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from envoy_sidecar.telemetry.metrics import MISSING_OTLP, SCOPE, TelemetryError, otlp_wanted, resource
from envoy_sidecar.transport.port import Answer, Call, Failure

_SAMPLED = 0x01
# https://www.w3.org/TR/trace-context/#traceparent-header; a later version may carry more behind the flags.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")


class Tracing:
    """Records finished calls as spans of the caller's trace."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=resource(service), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SCOPE)
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self, method: str, calls: Sequence[Call], answers: Sequence[Answer], started_ns: int, ended_ns: int
    ) -> None:
        """Make a span for every sampled call of a batch that was answered between the two times (Unix, nanoseconds)."""
        for call, answer in zip(calls, answers, strict=True):
            if call.traceparent is None or not is_sampled(call.traceparent):
                continue
            context = self._propagator.extract({"traceparent": call.traceparent})
            if not get_current_span(context).get_span_context().is_valid:
                continue  # well formed, yet nobody's: an id of zeros, or version ff
            span = self._tracer.start_span(method, context, SpanKind.SERVER, start_time=started_ns)
            span.set_attribute("rpc.system", "grpc")
            if isinstance(answer, Failure):
                span.set_status(Status(StatusCode.ERROR, answer.code.name))
            span.end(ended_ns)

    def shutdown(self) -> None:
        """Send what is left and stop."""
        self._provider.shutdown()


def is_sampled(traceparent: str) -> bool:
    """Return whether the flags of a W3C traceparent have the sampled bit; False if it is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match is not None and bool(int(match[1], 16) & _SAMPLED)


def tracing_by_environment(service: str) -> Tracing | None:
    """Return tracing if the `OTEL_*` variables configure OTLP, else None; TelemetryError if OTLP is not installed."""
    if not otlp_wanted("TRACES"):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 -- an optional extra
            OTLPSpanExporter,
        )
    except ImportError:
        raise TelemetryError(MISSING_OTLP) from None
    return Tracing(service, OTLPSpanExporter())
