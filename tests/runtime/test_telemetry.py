"""Counters, their export to Prometheus and OTLP, and spans of sampled callers."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from envoy_sidecar.telemetry.instrument import instrumented
from envoy_sidecar.telemetry.instruments import Gauges, Histogram
from envoy_sidecar.telemetry.metrics import Metrics, otlp_wanted
from envoy_sidecar.telemetry.tally import OTHER, Tally
from envoy_sidecar.telemetry.tracing import Tracing, is_sampled, tracing_by_environment
from envoy_sidecar.transport.port import Answer, Call, Failure, Service

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


@pytest.fixture(autouse=True)
def no_otel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)


def answer(calls: Sequence[Call]) -> Sequence[Answer]:
    if any(call.payload == b"raise" for call in calls):
        raise RuntimeError("asked to raise")
    return [Failure(grpc.StatusCode.ABORTED, "x") if call.payload == b"fail" else b"" for call in calls]


SERVICE = Service("test.Echo", {"Say": answer})


class Collector(ThreadingHTTPServer):
    """Keeps what is posted to it, by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collect)
        self.bodies: dict[str, list[bytes]] = {}
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Collect(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield server
    server.close()


def test_a_tally_counts_by_labels() -> None:
    tally = Tally("test.count", "A test's", ("who", "what"))
    tally.add(("a", "x"))
    tally.add(("a", "x"), 2)
    tally.add(("b", "x"))
    assert (tally.value(("a", "x")), tally.value(("b", "x")), tally.value(("c", "x"))) == (3, 1, 0)


def test_a_tally_is_bounded_whatever_is_counted() -> None:
    tally = Tally("test.count", "A test's", ("who",), cap=2)
    for number in range(100):
        tally.add((str(number),))
    tally.add(("0",))
    assert tally.counts == {("0",): 2, ("1",): 1, (OTHER,): 98}


def test_what_a_tally_begins_with_is_shown_as_0_and_takes_nothing_away() -> None:
    metrics = Metrics("envoy-test")
    tally, bare = Tally("test.count", "A test's", ("who",)), Tally("test.bare", "A test's")
    metrics.export([tally, bare])
    tally.add(("a",))
    tally.begin([("a",), ("b",)])
    bare.begin()
    text = metrics.prometheus().decode()
    metrics.shutdown()
    for line in ('test_count_total{who="a"} 1.0', 'test_count_total{who="b"} 0.0', "test_bare_total 0.0"):
        assert line in text


def test_prometheus_shows_the_newest_counts() -> None:
    metrics = Metrics("envoy-test")
    tally, level = Tally("test.count", "A test's", ("who",)), [1.0]
    metrics.export([tally])
    metrics.gauge("test.level", "A test's", lambda: level[0])
    tally.add(('quo"te\n',))
    assert 'test_count_total{who="quo\\"te\\n"} 1.0' in metrics.prometheus().decode()
    tally.add(('quo"te\n',), 4)
    level[0] = 2.5
    text = metrics.prometheus().decode()
    assert 'test_count_total{who="quo\\"te\\n"} 5.0' in text
    assert "test_level 2.5" in text
    metrics.shutdown()


def test_prometheus_shows_a_histogram_and_gauges_with_labels() -> None:
    metrics = Metrics("envoy-test")
    histogram = Histogram("test.latency.seconds", "A test's", (0.001, 0.1))
    levels = {("a",): 1.0}
    metrics.export([histogram, Gauges("test.levels", "A test's", ("who",), lambda: list(levels.items()))])
    histogram.add(0.001)
    histogram.add(0.05, 3)
    histogram.add(2.0)
    levels["b",] = 2.0
    text = metrics.prometheus().decode()
    for line in (
        '_bucket{le="0.001"} 1.0', '_bucket{le="0.1"} 4.0', '_bucket{le="+Inf"} 5.0', "_count 5.0", "_sum 2.151",
    ):  # fmt: skip
        assert f"test_latency_seconds{line}" in text
    assert 'test_levels{who="a"} 1.0' in text
    assert 'test_levels{who="b"} 2.0' in text
    metrics.shutdown()


def test_otlp_receives_the_metrics(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    metrics = Metrics("envoy-test")
    tally = Tally("test.count", "A test's", ("who",))
    metrics.export([tally])
    tally.add(("a",), 7)
    metrics.shutdown()
    request = ExportMetricsServiceRequest.FromString(collector.bodies["/v1/metrics"][-1])
    (exported,) = request.resource_metrics
    resource = {item.key: item.value.string_value for item in exported.resource.attributes}
    assert resource["service.name"] == "envoy-test"
    assert resource["service.instance.id"]
    assert resource["deployment.environment"] == "test"
    values = {
        metric.name: metric.sum.data_points[0].as_int
        for scope in exported.scope_metrics
        for metric in scope.metrics
    }
    assert values["test.count"] == 7


@pytest.mark.parametrize(
    "variables", [{"OTEL_SERVICE_NAME": "mine"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=mine"}]
)
def test_the_operators_service_name_goes_first(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    metrics = Metrics("envoy-test")
    metrics.gauge("test.level", "A test's", lambda: 1.0)
    metrics.shutdown()
    request = ExportMetricsServiceRequest.FromString(collector.bodies["/v1/metrics"][-1])
    attributes = request.resource_metrics[0].resource.attributes
    assert [item.value.string_value for item in attributes if item.key == "service.name"] == ["mine"]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
def test_the_standard_variables_decide_about_otlp(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert otlp_wanted("METRICS") is wanted


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (SAMPLED, True),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-more", True),
        (UNSAMPLED, False),
        ("", False),
        ("01", False),
        (SAMPLED[:-1], False),
        (SAMPLED + "1", False),
        (SAMPLED.upper(), False),
        (SAMPLED.replace("-", "_"), False),
        (SAMPLED + "\n", False),
        ("x" * 53 + "01", False),
    ],
)
def test_only_a_well_formed_traceparent_with_the_flag_is_sampled(traceparent: str, *, sampled: bool) -> None:
    assert is_sampled(traceparent) is sampled


def test_each_sampled_call_is_one_span_under_its_caller() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("envoy-test", exporter)
    say = instrumented(SERVICE, Tally("calls", "", ("method", "code")), tracing).unary["Say"]
    say(
        [
            Call(b"", SAMPLED),
            Call(b"fail", SAMPLED),
            Call(b"", UNSAMPLED),
            Call(b"", None),
            Call(b"", "nonsense"),
            Call(b"", f"00-{'0' * 32}-{SPAN}-01"),
            Call(b"", f"00-{TRACE}-{'0' * 16}-01"),
            Call(b"", f"ff-{TRACE}-{SPAN}-01"),
        ]
    )
    tracing.shutdown()
    good, failed = exporter.get_finished_spans()
    for span in (good, failed):
        assert span.name == "test.Echo/Say"
        assert span.context is not None
        assert span.parent is not None
        assert f"{span.context.trace_id:032x}" == TRACE
        assert f"{span.parent.span_id:016x}" == SPAN
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    assert good.status.is_ok
    assert (failed.status.is_ok, failed.status.description) == (False, "ABORTED")


def test_otlp_receives_the_spans(collector: Collector) -> None:
    tracing = tracing_by_environment("envoy-test")
    assert tracing is not None
    instrumented(SERVICE, Tally("calls", "", ("method", "code")), tracing).unary["Say"]([Call(b"", SAMPLED)])
    tracing.shutdown()
    request = ExportTraceServiceRequest.FromString(collector.bodies["/v1/traces"][0])
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)


def test_without_otlp_there_is_no_tracing() -> None:
    assert tracing_by_environment("envoy-test") is None


async def test_calls_are_counted_by_method_and_code_also_when_the_handler_fails() -> None:
    tally = Tally("calls", "", ("method", "code"))
    say = instrumented(SERVICE, tally, None).unary["Say"]
    await asyncio.to_thread(say, [Call(b""), Call(b"fail"), Call(b"")])
    answers = say([Call(b"raise"), Call(b"")])
    assert all(isinstance(one, Failure) and one.code is grpc.StatusCode.INTERNAL for one in answers)
    assert tally.counts == {
        ("test.Echo/Say", "OK"): 2,
        ("test.Echo/Say", "ABORTED"): 1,
        ("test.Echo/Say", "INTERNAL"): 2,
    }


def test_a_span_that_fails_leaves_the_answer_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError("a fault of ours")

    tracing = Tracing("envoy-test", InMemorySpanExporter())
    monkeypatch.setattr(tracing, "record", broken)
    say = instrumented(SERVICE, Tally("calls", "", ("method", "code")), tracing).unary["Say"]
    for _ in range(3):
        (answer,) = say([Call(b"x", SAMPLED)])
        assert isinstance(answer, bytes)
    assert caplog.text.count("spans are lost") == 1
    tracing.shutdown()


def test_instrumented_keeps_what_else_the_service_has() -> None:
    service = Service("test.Echo", {}, {}, b"denied")
    assert instrumented(service, Tally("calls", ""), None).too_large == b"denied"


def test_an_overflow_keeps_the_first_labels_and_is_counted() -> None:
    tally = Tally("decisions", "", ("decision", "policy", "reason"), cap=2, keep=1)
    for number in range(5):
        tally.add(("deny", f"p{number}", "r"), 2)
    tally.add(("allow", "p9", "r"))
    tally.add(("deny", "p0", "r"))
    assert tally.counts == {
        ("deny", "p0", "r"): 3,
        ("deny", "p1", "r"): 2,
        ("deny", "other", "other"): 6,
        ("allow", "other", "other"): 1,
    }
    assert tally.overflow == 7
    metrics = Metrics("envoy-test")
    metrics.export([tally, Tally("quiet", "")])
    text = metrics.prometheus().decode()
    assert 'metrics_overflow_total{metric="decisions"} 7.0' in text
    assert 'metric="quiet"' not in text
