"""What the benchmark makes of h2load's output, and of the samples."""

import json
from pathlib import Path

import pytest

from tests.bench.load import Concurrency, LoadError, Sample, framed, parse
from tests.bench.payloads import unframed
from tests.bench.report import keep, results

OUTPUT = """
finished in 84.39ms, 2369.99 req/s, 60.32KB/s
requests: 200 total, 200 started, 200 done, {succeeded} succeeded, {failed} failed, 0 errored, 0 timeout
status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 5.09KB (5212) total, 2.51KB (2568) headers (space savings 93.61%), 1000B ({data}) data
"""
LOG = "".join(f"1770000000000\t200\t{microseconds}\n" for microseconds in range(1000, 201_000, 1000))


def test_the_summary_and_the_log_become_a_sample() -> None:
    sample = parse(OUTPUT.format(succeeded=200, failed=0, data=1000), LOG, cpu_s=0.2)
    assert (sample.calls_per_s, sample.cpu_s_per_10k) == (2369.99, 10)
    assert sample.p50_ms == pytest.approx(100.5)
    assert sample.p99_ms == pytest.approx(198.0, abs=0.1)


@pytest.mark.parametrize(
    "output",
    ["", OUTPUT.format(succeeded=199, failed=1, data=1000), OUTPUT.format(succeeded=200, failed=0, data=995)],
)
def test_a_failed_call_fails_the_run(output: str) -> None:
    with pytest.raises(LoadError):
        parse(output, LOG, cpu_s=0.2)


def test_frames_are_read_back() -> None:
    assert unframed(framed([b"one", b"", b"x" * 70_000])) == [b"one", b"", b"x" * 70_000]


def test_ratios_are_those_of_the_same_round(tmp_path: Path) -> None:
    many = str(Concurrency(2, 32, 100))

    def rates(*calls_per_s: float) -> list[Sample]:
        return [Sample(rate, 1, 2, 3) for rate in calls_per_s]

    found = results(
        {
            ("empty", "native", many): rates(100, 10, 1000),
            ("authz", "native", many): rates(50, 6, 700),
            ("empty", "grpcio", many): rates(10, 2, 50),
        },
        {"authz": "empty"},
    )
    assert [(result.of_empty, result.of_grpcio) for result in found] == [
        (None, 10),
        (0.6, None),
        (None, None),
    ]
    as_json, as_svg = keep(tmp_path, found, rounds=3)
    assert [result["name"] for result in json.loads(as_json.read_text())["results"]] == [
        "empty",
        "authz",
        "empty",
    ]
    assert 'href="http' not in as_svg.read_text()  # the picture must not ask another host for anything


def test_an_open_load_has_a_rate_of_its_own_and_so_no_ratio() -> None:
    rate = str(Concurrency(2, 64, 3000, per_second=1000))
    assert rate == "1,000/s, 10 at once"
    samples = [Sample(1000, 1, 2, 3)]
    found = results(
        {("empty", "native", rate): samples, ("authz", "native", rate): samples}, {"authz": "empty"}
    )
    assert [result.of_empty for result in found] == [None, None]


def test_an_open_load_that_is_spread_comes_one_by_one() -> None:
    spread = Concurrency(10, 64, 3000, per_second=1000, spread=True)
    assert str(spread) == "1,000/s, 1 at once"
    assert spread.options()[3:] == ["--rps=100", "--rate=1", "--rate-period=1ms"]
