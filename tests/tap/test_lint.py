"""The lint names what a real Envoy aborts on or refuses, and nothing that it takes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from envoy_demo.envoy import Envoy, start_envoy, validate
from envoy_demo.processes import Processes
from envoy_sidecar.config.documents import read_documents
from envoy_tap.core.node import Proxy
from envoy_tap.drivers.native import NativeDriver
from envoy_tap.lint.command import lint
from envoy_tap.lint.preflight import PreflightError, checked
from envoy_tap.lint.rules import check
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup
from tests.tap.building import NODE, session
from tests.tap.lint_cases import (
    ABORTING,
    ABORTING_WHEN_POSTED,
    ANY,
    FILE,
    ON_DEMAND,
    REFUSED,
    REFUSED_WHEN_POSTED,
    ROUTE,
    TAKEN,
    Case,
    Config,
    bootstrap,
    by_regex,
    posted,
    static,
    tap_config,
)

ABORTED = -6
OVERFLOWED = -11


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("lint")) as processes:
        yield processes


def on_demand(processes: Processes) -> Envoy:
    return start_envoy(processes, bootstrap(ON_DEMAND))


def post(envoy: Envoy, body: Config) -> httpx.Response:
    with httpx.stream("POST", f"http://127.0.0.1:{envoy.admin_port}/tap", json=body, timeout=30) as answer:
        if answer.status_code != 200:
            answer.read()
        return answer


@pytest.mark.parametrize("name", ABORTING | REFUSED)
def test_what_envoy_does_not_take_from_a_file_is_named(processes: Processes, name: str) -> None:
    case = (ABORTING | REFUSED)[name]
    file = processes.folder / "tried.json"
    file.write_text(json.dumps(case.config), "utf-8")
    code, _ = validate(processes, file)
    assert code == (ABORTED if name in ABORTING else 1)
    assert any(case.says in said for said in case.found()), case.found()


@pytest.mark.parametrize("name", ABORTING_WHEN_POSTED)
def test_what_envoy_aborts_on_when_it_is_posted_is_named(processes: Processes, name: str) -> None:
    case = ABORTING_WHEN_POSTED[name]
    envoy = on_demand(processes)
    with pytest.raises(httpx.RemoteProtocolError):
        post(envoy, case.config)
    assert envoy.process.wait(30) == ABORTED
    assert any(case.says in said for said in case.found()), case.found()


def test_what_envoy_refuses_when_it_is_posted_is_named_and_what_it_takes_is_not(processes: Processes) -> None:
    envoy = on_demand(processes)
    for name, case in REFUSED_WHEN_POSTED.items():
        assert post(envoy, case.config).status_code == 400, name
        assert any(case.says in said for said in case.found()), name
        assert not any("aborts" in said for said in case.found()), name
    right = posted(
        {"streaming_admin": {}, "format": "JSON_BODY_AS_BYTES"}, match={"or_match": {"rules": TAKEN}}
    )
    assert Case(right, "").found() == []
    assert post(envoy, right).status_code == 200


def test_what_envoy_takes_is_clean(processes: Processes) -> None:
    nothing = {"output_config": {"sinks": [FILE]}, "match": {"not_match": ANY}}
    for config in (
        static(FILE, match={"or_match": {"rules": [*TAKEN, by_regex("a+")]}}),
        bootstrap(ON_DEMAND, of_route={"@type": ROUTE, "disabled": True}),
        bootstrap({"static_config": nothing}),
        bootstrap(sockets={"listener": ON_DEMAND, "cluster": {"static_config": tap_config(FILE)}}),
    ):
        file = processes.folder / "right.json"
        file.write_text(json.dumps(config), "utf-8")
        assert validate(processes, file)[0] == 0
        assert Case(config, "").found() == []


YAML = """\
output_config: &out
  sinks:
  - streamingGrpc: {tapId: t}
  max_buffered_rx_bytes: 1
match_config: {any_match: true}
---
config_id: x
tapConfig:
  outputConfig:
    sinks: [{buffered_admin: {max_traces: 1}, format: 4}]
  match: {any_match: true}
---
"@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
observability_mode: true
processing_mode: {request_body_mode: BUFFERED, response_body_mode: STREAMED}
"""


TWICE = """\
config_id: x
tap_config:
  output_config: {sinks: [{streaming_admin: {}}], max_buffered_rx_bytes: 1}
  match: {any_match: true}
  match: {http_request_headers_match: {headers: [{name: a, string_match: {safe_regex: {regex: "("}}}]}}
tapConfig: {}
"""


def test_a_field_that_is_there_twice_hides_nothing(processes: Processes) -> None:
    """The reader keeps the first of two, Envoy the last."""
    (document,) = read_documents(TWICE, "f")
    assert [str(each).partition(" (")[0] for each in check(document)] == [
        "f:2:1: error: tap_config is there twice: Envoy takes what comes last",
        "f:5:3: error: match is there twice: Envoy takes what comes last",
    ]
    envoy = on_demand(processes)
    body = TWICE.removesuffix("tapConfig: {}\n").replace("config_id: x", "config_id: on-demand")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"http://127.0.0.1:{envoy.admin_port}/tap", content=body, timeout=30)
    assert envoy.process.wait(30) == ABORTED


def test_an_alias_within_what_it_names_is_not_clean_for_envoy_reads_on_until_its_stack_ends(
    processes: Processes, tmp_path: Path
) -> None:
    envoy, body = on_demand(processes), "config_id: on-demand\ntap_config: &a {match: {not_match: *a}}\n"
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"http://127.0.0.1:{envoy.admin_port}/tap", content=body, timeout=30)
    assert envoy.process.wait(30) == OVERFLOWED
    file = tmp_path / "endless.yaml"
    file.write_text(body, "utf-8")
    assert lint(file) == 2


def test_both_spellings_of_fields_and_numbers_of_enums_are_read_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    file.write_text(YAML, "utf-8")
    found = [str(each) for document in read_documents(YAML, "f") for each in check(document)]
    assert [each.partition(": ")[0] for each in found] == ["f:3:5", "f:10:47", "f:10:5", "f:14:1", "f:15:19"]
    argv = [sys.executable, "-m", "envoy_tap", "lint", str(file), "--format", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["line"] == 3


def test_what_cannot_be_read_is_said_where_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [", "utf-8")
    assert lint(broken) == 2
    assert f"{broken}:1:" in capsys.readouterr().out
    assert lint(tmp_path / "none") == 2
    assert "none" in capsys.readouterr().out


def test_the_shipped_configurations_are_clean() -> None:
    assert lint(Path("envoy-configs/static")) == 0


def test_what_would_abort_is_not_sent() -> None:
    checked(slot_resource("slot", [session(predicate="path^=/a")], Proxy(NODE)))
    checked(slot_resource("slot", [], Proxy(NODE)))
    proxy = Proxy(NODE, (("envoy_tap.native_sink", "true"),))
    native = NativeDriver().resource("slot", [session(predicate="path^=/a")], proxy, Setup())
    checked(native, has_native_sink=True)
    with pytest.raises(PreflightError, match="the sink streaming_grpc is not implemented"):
        checked(native)
