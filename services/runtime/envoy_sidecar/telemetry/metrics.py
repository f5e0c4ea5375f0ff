"""Export of the process's counters: OpenTelemetry, scraped by Prometheus, and pushed by OTLP when configured so."""

import os
import uuid
from collections.abc import Callable, Iterable
from functools import partial

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, OTELResourceDetector, Resource
from prometheus_client import CollectorRegistry, generate_latest

from envoy_sidecar.telemetry.instruments import Gauges, Histogram, Instrument
from envoy_sidecar.telemetry.tally import Tally

SCOPE = "envoy_sidecar"
# Of this process: without it the counters of several workers would be taken for one that jumps.
_INSTANCE = str(uuid.uuid4())
MISSING_OTLP = "OTLP is configured by OTEL_* but not installed: pip install 'envoy-sidecars[otlp]'"


class TelemetryError(Exception):
    """The telemetry that the environment asks for cannot be had."""


class Metrics:
    """The metrics of one process: tallies and gauges, read only when somebody scrapes or the OTLP interval ends."""

    def __init__(self, service: str) -> None:
        """Make the exporters that the standard `OTEL_*` variables ask for; TelemetryError if OTLP is not installed."""
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = [
            PrometheusMetricReader(
                disable_target_info=True, scope_info_enabled=False, registry=self._registry
            )
        ]
        if otlp_wanted("METRICS"):
            readers.append(_otlp_reader())
        self._provider = MeterProvider(readers, resource(service), shutdown_on_exit=False)
        self._meter = self._provider.get_meter(SCOPE)

    def export(self, instruments: Iterable[Instrument]) -> None:
        """Export each by its name, and as `metrics.overflow` what tallies past their cap counted."""
        instruments = list(instruments)
        for one in instruments:
            if isinstance(one, Histogram):
                self._registry.register(one)
            elif isinstance(one, Gauges):
                self._meter.create_observable_gauge(
                    one.name, [partial(_observe_gauges, one)], description=one.description
                )
        tallies = [one for one in instruments if isinstance(one, Tally)]
        self._meter.create_observable_counter(
            "metrics.overflow",
            [partial(_observe_overflow, tallies)],
            description="What a counter with too many label values counted under `other`",
        )
        for tally in tallies:
            self._meter.create_observable_counter(
                tally.name, [partial(_observe, tally)], description=tally.description
            )

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Export what *read* returns whenever it is asked."""
        self._meter.create_observable_gauge(
            name, [lambda _options: [Observation(read())]], description=description
        )

    def prometheus(self) -> bytes:
        """Return the text exposition format, version 0.0.4."""
        return generate_latest(self._registry)

    def shutdown(self) -> None:
        """Push what is left and stop."""
        self._provider.shutdown()


def resource(service: str) -> Resource:
    """Return who sends the telemetry; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes first."""
    own = {SERVICE_NAME: service, SERVICE_INSTANCE_ID: _INSTANCE}
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})


def otlp_wanted(signal: str) -> bool:
    """Return whether the environment configures OTLP for *signal* (METRICS or TRACES).

    See https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = os.environ.get(f"OTEL_{signal}_EXPORTER")
    if exporter is not None:
        return "otlp" in exporter.split(",")
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def _otlp_reader() -> MetricReader:
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 -- an optional extra
            OTLPMetricExporter,
        )
    except ImportError:
        raise TelemetryError(MISSING_OTLP) from None
    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _observe_overflow(tallies: Iterable[Tally], _options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(tally.overflow, {"metric": tally.name}) for tally in tallies if tally.overflow]


def _observe_gauges(gauges: Gauges, _options: CallbackOptions) -> Iterable[Observation]:
    return [
        Observation(value, dict(zip(gauges.label_names, labels, strict=True)))
        for labels, value in gauges.read()
    ]


def _observe(tally: Tally, _options: CallbackOptions) -> Iterable[Observation]:
    # list() takes the items in one step, while the tally's own thread goes on counting.
    return [
        Observation(count, dict(zip(tally.label_names, labels, strict=True)))
        for labels, count in list(tally.counts.items())
    ]
