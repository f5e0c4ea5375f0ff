"""Decisions as OpenTelemetry log records, sent by OTLP over HTTP as the standard `OTEL_*` variables say."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from envoy_authz.decision_log.shape import Shown
from envoy_sidecar.telemetry.metrics import MISSING_OTLP, TelemetryError, resource

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.util.types import AnyValue

SCOPE = "envoy_authz.decisions"
_ATTRIBUTES = ("id", "decision", "policy", "reason")


class OtlpSink:
    """Sends decisions to a collector, a batch in one request; what it does not take is counted as failed.

    The body of a record is the decision; its id, decision, policy and reason are attributes as well
    (`authz.id` and so on). Denials are of severity WARN, the rest INFO.
    """

    def __init__(self, service: str = "envoy-authz") -> None:
        """Raise TelemetryError if OTLP is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http._log_exporter import (  # noqa: PLC0415 - an optional extra
                OTLPLogExporter,
            )
        except ImportError:
            raise TelemetryError(MISSING_OTLP) from None
        self._exporter = OTLPLogExporter()
        self._resource = resource(service)

    def write(self, decisions: Sequence[Shown]) -> None:
        """Send *decisions*; raises OSError."""
        from opentelemetry.sdk._logs.export import LogRecordExportResult  # noqa: PLC0415 - costs when unused

        records = [self._record(decision) for decision in decisions]
        if self._exporter.export(records) is not LogRecordExportResult.SUCCESS:
            raise OSError("the collector did not take the decisions")

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # so the library has it

    def _record(self, decision: Shown) -> "ReadableLogRecord":
        from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC0415 - costs when unused
        from opentelemetry.sdk._logs import ReadableLogRecord  # noqa: PLC0415
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        denied = decision["decision"] == "deny"
        moment = datetime.fromisoformat(str(decision["time"]))
        record = LogRecord(
            timestamp=int(moment.timestamp() * 1000) * 1_000_000,
            severity_number=SeverityNumber.WARN if denied else SeverityNumber.INFO,
            severity_text="WARN" if denied else "INFO",
            body=cast("AnyValue", decision),
            attributes={f"authz.{name}": str(decision[name]) for name in _ATTRIBUTES},
        )
        return ReadableLogRecord(record, self._resource, InstrumentationScope(SCOPE))
