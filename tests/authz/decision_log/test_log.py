"""Decisions queued, written beside the requests, sampled, and counted when they are lost."""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from envoy_authz.decision_log import DecisionLog, FileSink, Masks, OtlpSink, Shown, StdoutSink
from envoy_authz.decision_log.shape import shown
from envoy_authz.decision_log.sinks import line
from tests.authz.decision_log.records import ALLOWED, DENIED
from tests.runtime.test_telemetry import Collector


class Kept:
    def __init__(self) -> None:
        self.taken: list[Shown] = []
        self.arrived = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False

    def write(self, decisions: Sequence[Shown]) -> None:
        self.arrived.set()
        self.gate.wait()
        if self.broken:
            raise OSError("no space left on device")
        self.taken.extend(decisions)

    def close(self) -> None:
        self.taken.append({"closed": True})


def test_what_waits_is_written_before_the_end() -> None:
    sink = Kept()
    log = DecisionLog(sink, Masks())
    log.start()
    for _ in range(600):
        log.put(DENIED)
    log.stop()
    assert [one.get("id") for one in sink.taken] == [DENIED.id] * 600 + [None]
    written, dropped = log.tallies
    assert (written.value(("written",)), written.value(("failed",)), dropped.value()) == (600, 0, 0)


def test_what_is_too_much_is_dropped_and_counted_and_nobody_waits() -> None:
    sink = Kept()
    sink.gate.clear()
    log = DecisionLog(sink, Masks(), capacity=3)
    log.start()
    log.put(DENIED)
    assert sink.arrived.wait(10)
    for _ in range(10):
        log.put(DENIED)
    written, dropped = log.tallies
    assert dropped.value() == 7
    sink.gate.set()
    log.stop()
    assert written.value(("written",)) == 4


def test_a_sink_that_fails_is_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    sink = Kept()
    sink.broken = True
    log = DecisionLog(sink, Masks())
    log.start()
    for _ in range(300):
        log.put(ALLOWED)
    log.stop()
    assert log.tallies[0].value(("failed",)) == 300
    (record,) = caplog.records
    assert "the decision log can't be written: OSError: no space left" in record.getMessage()


def test_shares_are_of_allowances_and_of_denials() -> None:
    log = DecisionLog(Kept(), Masks(), allows=0.0, denies=1.0)
    assert [log.wants(allowed=False) for _ in range(50)] == [True] * 50
    assert [log.wants(allowed=True) for _ in range(50)] == [False] * 50
    half = DecisionLog(Kept(), Masks(), allows=0.5)
    assert 300 < sum(half.wants(allowed=True) for _ in range(1000)) < 700


def lines(file: Path) -> list[str]:
    return [json.loads(text)["id"] for text in file.read_text("ascii").splitlines()]


def numbered(number: int) -> Shown:
    return shown(ALLOWED._replace(id=str(number)), Masks())


def test_a_file_is_turned_over_and_the_oldest_goes(tmp_path: Path) -> None:
    file = tmp_path / "decisions.log"
    sink = FileSink(file, max_bytes=2 * len(line(numbered(0))), keep=2)
    for number in range(7):
        sink.write([numbered(number)])
    sink.close()
    assert lines(file) == ["6"]
    assert lines(tmp_path / "decisions.log.1") == ["4", "5"]
    assert lines(tmp_path / "decisions.log.2") == ["2", "3"]
    assert len(list(tmp_path.iterdir())) == 3
    assert file.stat().st_mode & 0o777 == 0o640 & ~_umask()
    again = FileSink(file)
    again.write([numbered(7)])
    again.close()
    assert lines(file) == ["6", "7"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_without_older_ones_and_one_that_was_moved_away(tmp_path: Path) -> None:
    file = tmp_path / "decisions.log"
    sink = FileSink(file, max_bytes=1, keep=0)
    sink.write([numbered(0)])
    sink.write([numbered(1)])
    assert lines(file) == ["1"]
    file.rename(tmp_path / "moved")
    sink.write([numbered(2)])
    assert (lines(file), lines(tmp_path / "moved")) == (["2"], ["1"])
    sink.close()


def test_stdout_gets_whole_lines(capfd: pytest.CaptureFixture[str]) -> None:
    StdoutSink().write([numbered(number) for number in range(100)])
    text = capfd.readouterr().out
    assert [json.loads(one)["id"] for one in text.splitlines()] == [str(number) for number in range(100)]


def test_a_collector_gets_log_records(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    log = DecisionLog(OtlpSink(), Masks())
    log.start()
    log.put(DENIED)
    log.put(ALLOWED)
    log.stop()
    collector.close()
    (body,) = collector.bodies["/v1/logs"]
    (resource,) = ExportLogsServiceRequest.FromString(body).resource_logs
    (scope,) = resource.scope_logs
    denied, allowed = scope.log_records
    assert (denied.severity_text, allowed.severity_text) == ("WARN", "INFO")
    assert denied.time_unix_nano == 1_800_000_000_125_000_000
    attributes = {one.key: one.value.string_value for one in denied.attributes}
    assert attributes["authz.id"] == DENIED.id
    fields = {one.key: one.value for one in denied.body.kvlist_value.values}
    assert fields["rule"].int_value == 1
    assert {one.key for one in fields["request"].kvlist_value.values} == {"method", "path", "host"}


def test_a_collector_that_takes_nothing_is_a_counted_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    port = collector.server_port
    collector.close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    sink = OtlpSink()
    with pytest.raises(OSError, match="did not take"):
        sink.write([numbered(1)])
    sink.close()
