"""The lint names what a real Envoy aborts on or refuses, and nothing that it takes."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

Config = dict[str, Any]
TYPE = "type.googleapis.com/"
ANY = {"any_match": True}
GRPC = {"streaming_grpc": {"tap_id": "t", "grpc_service": {"envoy_grpc": {"cluster_name": "c"}}}}
FILE = {"file_per_tap": {"path_prefix": "/dev/null"}}
CUSTOM = {"custom_sink": {"name": "x", "typed_config": {"@type": f"{TYPE}google.protobuf.Struct"}}}
TRACES = str(2**64 - 1)
ABORTED = -6


def by_header(**matcher: Any) -> Config:
    return {"http_request_headers_match": {"headers": [{"name": "a", **matcher}]}}


def by_regex(regex: str) -> Config:
    return by_header(string_match={"safe_regex": {"regex": regex}})


BAD = by_regex("(")
# An Envoy takes 100 of RE2's instructions.
LARGE = by_regex("(.*a){20}")
UNKNOWN = {"name": "x", "typed_config": {"@type": f"{TYPE}google.protobuf.Struct"}}
LUA = {
    "name": "envoy.string_matcher.lua",
    "typed_config": {
        "@type": f"{TYPE}envoy.extensions.string_matcher.lua.v3.Lua",
        "source_code": {"inline_string": "("},
    },
}


def tap_config(*sinks: Config, match: Config | None = ANY) -> Config:
    limits = {"max_buffered_rx_bytes": 1024, "max_buffered_tx_bytes": 1024}
    return {"output_config": {"sinks": list(sinks), **limits}, **({"match": match} if match else {})}


def loopback(port: int) -> Config:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def bootstrap(filter_: Config | None = None, *, sockets: Mapping[str, Config] | None = None) -> Config:
    """Return an Envoy configuration with a tap *filter_*, or with tapped *sockets* of the listener or the cluster."""
    http = "envoy.extensions.filters.http"
    filters = [
        {"name": "tap", "typed_config": {"@type": f"{TYPE}{http}.tap.v3.Tap", "common_config": filter_}}
    ]
    manager = {
        "@type": f"{TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [
            *(filters if filter_ else []),
            {"name": "router", "typed_config": {"@type": f"{TYPE}{http}.router.v3.Router"}},
        ],
    }
    tapped = {side: {"transport_socket": _socket(common)} for side, common in (sockets or {}).items()}
    return {
        "node": {"id": "edge-1", "cluster": "edge"},
        "admin": loopback(0),
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    **loopback(0),
                    "enable_reuse_port": False,
                    "filter_chains": [
                        {"filters": [{"name": "http", "typed_config": manager}], **tapped.get("listener", {})}
                    ],
                }
            ],
            "clusters": [
                {"name": "c", "type": "STATIC", "connect_timeout": "1s", **tapped.get("cluster", {})}
            ],
        },
    }


def _socket(common: Config) -> Config:
    at = f"{TYPE}envoy.extensions.transport_sockets"
    raw = {"name": "raw", "typed_config": {"@type": f"{at}.raw_buffer.v3.RawBuffer"}}
    return {
        "name": "tap",
        "typed_config": {"@type": f"{at}.tap.v3.Tap", "common_config": common, "transport_socket": raw},
    }


def static(*sinks: Config, match: Config | None = ANY) -> Config:
    return bootstrap({"static_config": tap_config(*sinks, match=match)})


def posted(*sinks: Config, match: Config | None = ANY) -> Config:
    return {"config_id": "on-demand", "tap_config": tap_config(*sinks, match=match)}


@dataclass(frozen=True)
class Case:
    config: Config
    says: str

    def found(self) -> list[str]:
        (document,) = read_documents(json.dumps(self.config), "tap.json")
        return [each.message for each in check(document)]


ABORTING = {
    "grpc sink": Case(static(GRPC), "aborts on this: the sink streaming_grpc"),
    "grpc sink of a listener's socket": Case(
        bootstrap(sockets={"listener": {"static_config": tap_config(GRPC)}}), "the sink streaming_grpc"
    ),
    "grpc sink of a cluster's socket": Case(
        bootstrap(sockets={"cluster": {"static_config": tap_config(GRPC)}}), "the sink streaming_grpc"
    ),
}
REFUSED = {
    "streaming admin sink": Case(static({"streaming_admin": {}}), "refuses this: the sink streaming_admin"),
    "buffered admin sink": Case(static({"buffered_admin": {"max_traces": 1}}), "the sink buffered_admin"),
    "no match": Case(static(FILE, match=None), "refuses this: a tap without match"),
    "no sink": Case(static(), "a tap has one sink, this has 0"),
    "two sinks": Case(static(FILE, FILE), "a tap has one sink, this has 2"),
    "sink of no kind": Case(static({"format": "JSON_BODY_AS_BYTES"}), "a sink without a kind"),
}
ABORTING_WHEN_POSTED = {
    "grpc sink": Case(posted(GRPC), "aborts on this: the sink streaming_grpc"),
    "no match": Case(posted({"streaming_admin": {}}, match=None), "aborts on this: a tap without match"),
    "custom sink": Case(posted(CUSTOM), "aborts on this: no custom sink"),
    **{
        name: Case(posted({"streaming_admin": {}}, match=match), says)
        for name, match, says in (
            ("bad regex", BAD, "Envoy aborts if RE2 can't read this regex"),
            ("large regex", LARGE, "or if its program is over 100"),
            ("bad regex of old", by_header(safe_regex_match={"regex": "("}), "can't read this regex"),
            (
                "bad regex of a trailer",
                {"not_match": {"http_response_trailers_match": BAD["http_request_headers_match"]}},
                "can't read this regex",
            ),
            ("unknown matcher", by_header(string_match={"custom": UNKNOWN}), "does not know this matcher"),
            ("bad matcher", by_header(string_match={"custom": LUA}), "does not like its configuration"),
        )
    },
    "bad regex in match_config": Case(
        {
            "config_id": "on-demand",
            "tap_config": {**tap_config({"streaming_admin": {}}, match=None), "match_config": BAD},
        },
        "can't read this regex",
    ),
    "more traces than there is room for": Case(
        posted({"buffered_admin": {"max_traces": TRACES}}), "it makes room for all of max_traces"
    ),
    "number of a format in quotes": Case(
        posted({"streaming_admin": {}, "format": "3"}), "with the format PROTO_BINARY_LENGTH_DELIMITED"
    ),
    **{
        f"{sink} {form}": Case(
            posted({sink: options, "format": form}), f"aborts on this: {sink} with the format {form}"
        )
        for sink, options, form in (
            ("streaming_admin", {}, "PROTO_BINARY_LENGTH_DELIMITED"),
            ("streaming_admin", {}, "PROTO_TEXT"),
            ("buffered_admin", {"max_traces": 1}, "PROTO_BINARY"),
            ("buffered_admin", {"max_traces": 1}, "PROTO_TEXT"),
        )
    },
}
REFUSED_WHEN_POSTED = {
    "no sink": Case(posted(), "a tap has one sink, this has 0"),
    "no tap config": Case({"config_id": "on-demand"}, "it has no tap_config"),
    "no max_traces": Case(posted({"buffered_admin": {"max_traces": 0}}), "buffered_admin without max_traces"),
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("lint")) as processes:
        yield processes


def on_demand(processes: Processes) -> Envoy:
    return start_envoy(processes, bootstrap({"admin_config": {"config_id": "on-demand"}}))


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
    for case in REFUSED_WHEN_POSTED.values():
        assert post(envoy, case.config).status_code == 400
        assert any(case.says in said for said in case.found()), case.found()
    right = posted({"streaming_admin": {}, "format": "JSON_BODY_AS_BYTES"})
    assert Case(right, "").found() == []
    assert post(envoy, right).status_code == 200


def test_what_envoy_takes_is_clean(processes: Processes) -> None:
    nothing = {"output_config": {"sinks": [FILE]}, "match": {"not_match": ANY}}
    for config in (
        static(FILE),
        bootstrap({"admin_config": {"config_id": "on-demand"}}),
        bootstrap({"static_config": nothing}),
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
