"""`envoy-sidecars doctor` and `envoy-tap doctor` as they are typed: exit codes, output, and what can't be looked at."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from envoy_demo import configs
from envoy_demo.configs import EXT_AUTHZ
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_sidecar import cli
from envoy_sidecar.doctor import cli as sidecars
from envoy_sidecar.doctor import source
from envoy_tap import cli as tap
from tests.doctor.healthy import cluster, healthy, manager

OF_TCP = """
static_resources:
  listeners:
    - filter_chains:
        - filters:
            - typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
"""
PORTS = {"upstream": [1], "envoy_authz": [2], "envoy_ratelimit": [3], "envoy_tap": [4]}
PROGRAMS = {"sidecars": sidecars.app, "tap": tap.app}


@dataclass(frozen=True, slots=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


def doctor(*arguments: object, command: str = "sidecars") -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.run(PROGRAMS[command], ["doctor", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return Result(ended.value.code, out.getvalue(), err.getvalue())


def written(folder: Path, config: Any) -> Path:
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(config, indent=1), "utf-8")
    return file


@pytest.fixture(scope="module")
def faulty(of_module: Processes) -> Envoy:
    config = configs.on_ports(healthy(), PORTS)
    configs.http_filter(config, EXT_AUTHZ)["failure_mode_allow"] = True
    del cluster(config, "envoy_tap")["typed_extension_protocol_options"]
    del cluster(config, "envoy_tap")["health_checks"]
    return start_envoy(of_module, config)


@pytest.fixture(scope="module")
def of_a_live_one(faulty: Envoy) -> Result:
    return doctor(
        "--envoy", f"http://{LOOPBACK}:{faulty.admin_port}", "--format", "json", "--least", "warning"
    )


def test_a_live_envoy_is_read_by_its_admin_interface(of_a_live_one: Result) -> None:
    assert of_a_live_one.returncode == 1, of_a_live_one.stderr
    found = json.loads(of_a_live_one.stdout)
    assert [(each["service"], each["check"]) for each in found] == [
        ("authz", "authz-fails-open"),
        ("tap", "no-http2"),
    ]
    assert found[0]["line"] is None
    assert found[0]["mends"][0]["fragment"] == "failure_mode_allow: false\n"


def test_the_path_of_a_finding_leads_to_its_place_in_the_dump(faulty: Envoy, of_a_live_one: Result) -> None:
    dump = json.loads(faulty.admin("/config_dump"))
    value: Any = dump
    for key in json.loads(of_a_live_one.stdout)[0]["path"].replace("[", ".[").split("."):
        value = value[int(key[1:-1])] if key.startswith("[") else value[key]
    assert value is True


def test_a_saved_dump_is_read_as_the_live_one(faulty: Envoy, of_a_live_one: Result, tmp_path: Path) -> None:
    file = written(tmp_path, json.loads(faulty.admin("/config_dump")))
    found = doctor("--bootstrap", file, "--format", "json", "--least", "warning")
    names = [each["check"] for each in json.loads(found.stdout)]
    assert names == [each["check"] for each in json.loads(of_a_live_one.stdout)]


def test_a_finding_in_a_file_says_where_why_and_how_to_mend_it(tmp_path: Path) -> None:
    file = tmp_path / "edge.yaml"
    shipped = (configs.folder() / "static" / "edge.yaml").read_text("utf-8")
    file.write_text(shipped.replace("failure_mode_allow: false", "failure_mode_allow: true"), "utf-8")
    line = next(
        i for i, each in enumerate(file.read_text().splitlines(), 1) if "failure_mode_allow: true" in each
    )
    result = doctor("--bootstrap", file, "--least", "warning")
    assert result.returncode == 1
    assert result.stdout.startswith(
        f"{file}:{line}:43: error: authz: failure_mode_allow is true [authz-fails-open]\n"
    )
    assert "    why:  whoever can slow authz down" in result.stdout
    assert (
        "    mend: the ext_authz filter of listener ingress\n          failure_mode_allow: false\n"
        in result.stdout
    )
    assert "\nauthz: 1 error, " in result.stdout


def test_the_commands_are_installed() -> None:
    for program, summary in (("envoy-sidecars", "authz: 3 notes\n"), ("envoy-tap", "tap: 1 error\n")):
        argv = [str(Path(sys.executable).with_name(program)), "doctor", "--bootstrap", "static/authz.yaml"]
        result = subprocess.run(
            argv, cwd=configs.folder(), capture_output=True, text=True, check=False, timeout=60
        )
        assert summary in result.stdout, result.stderr


def test_what_is_ignored_is_not_said(tmp_path: Path) -> None:
    config = healthy()
    configs.http_filter(config, EXT_AUTHZ)["failure_mode_allow"] = True
    file = written(tmp_path, config)
    assert doctor("--bootstrap", file).returncode == 1
    assert doctor("--bootstrap", file, "--ignore", "authz-fails-open").returncode == 0


def test_notes_alone_are_no_reason_to_fail() -> None:
    result = doctor("--bootstrap", configs.folder() / "static" / "authz.yaml")
    assert (result.returncode, "[tap-missing]" in result.stdout) == (0, True)


def test_a_service_that_is_asked_for_has_to_be_there() -> None:
    result = doctor("--bootstrap", configs.folder() / "static" / "authz.yaml", "--service", "ratelimit")
    assert result.returncode == 1
    assert "error: ratelimit: no listener has a ratelimit filter [ratelimit-missing]" in result.stdout
    assert result.stdout.endswith("ratelimit: 1 error\n")


def test_the_taps_own_doctor_looks_at_the_tap_alone() -> None:
    result = doctor("--bootstrap", configs.folder() / "static" / "authz.yaml", command="tap")
    assert result.returncode == 1
    assert "error: tap: no listener has a tap slot [tap-missing]" in result.stdout
    assert "authz:" not in result.stdout
    shipped = doctor("--bootstrap", configs.folder() / "static" / "tap.yaml", command="tap")
    assert (shipped.returncode, shipped.stdout.splitlines()[-1]) == (0, "tap: 1 note")


def test_a_cluster_from_a_control_plane_is_not_missed(tmp_path: Path) -> None:
    config = healthy()
    clusters = config["static_resources"]["clusters"]
    # The tap's has to be in the bootstrap.
    clusters[:] = [each for each in clusters if each["name"] == "envoy_tap"]
    assert "[cluster-missing]" in doctor("--bootstrap", written(tmp_path, config)).stdout
    config["dynamic_resources"] = {"cds_config": {"ads": {}}}
    assert doctor("--bootstrap", written(tmp_path, config)).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listeners: [", "1:13: "),
        (
            "static_resource: {}",
            "1:1: is not Envoy's bootstrap: it has no static_resources; did you mean 'static_resources'?",
        ),
        ("- a\n- b", "1:1: is not Envoy's bootstrap: it has no static_resources; it is a list"),
        ("7", "1:1: is not Envoy's bootstrap: it has no static_resources; it is a single value"),
        (
            "resources: []",
            "1:1: is not Envoy's bootstrap: it has no static_resources; it holds resources that",
        ),
        (
            "kind: Pod\napiVersion: v1",
            "1:1: is not Envoy's bootstrap: it has no static_resources; this is a manifest (Pod): ask",
        ),
        (
            "kind: Pod\napiVersion: v1\n---\nb: 2",
            ": holds 2 documents; a bootstrap is one: this is a manifest (Pod)",
        ),
        ("# nothing", ": is empty; give Envoy's bootstrap file"),
        (OF_TCP, ": has no HTTP connection manager to look at: its listeners have TcpProxy"),
        ("static_resources: {listeners: {}}", "1:31: static_resources.listeners must be a list, is mapping"),
        (
            "static_resources: {}",
            ": has no HTTP connection manager to look at: it has no listener; if they come from a control plane",
        ),
        ("a: 1\n---\nb: 2", ": holds 2 documents; a bootstrap is one"),
        ("configs: []", ": has no bootstrap in it; save all of /config_dump"),
    ],
)
def test_what_is_no_bootstrap_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(text, "utf-8")
    result = doctor("--bootstrap", file)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{file}:{message}".replace("::", ":") in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_not_there_and_no_source_and_two_are_refused(tmp_path: Path) -> None:
    for arguments, message in (
        (("--bootstrap", tmp_path / "none.yaml"), "none.yaml: no such file; give Envoy's bootstrap file"),
        (("--bootstrap", tmp_path), "is a folder"),
        (("--bootstrap", "/dev/null"), "is no regular file"),
        ((), "give one of --envoy http://HOST:PORT and --bootstrap FILE"),
        (("--bootstrap", "a", "--envoy", "b"), "give one of"),
        (("--envoy", "ftp://127.0.0.1"), "is no address of an admin interface; write http://HOST:PORT"),
        (
            ("--envoy", f"http://{LOOPBACK}:{free_port()}"),
            "no answer: Connection refused; give the address",
        ),
        (("--envoy", "http://[::"), "is no address of an admin interface"),
        (("--envoy", f"{LOOPBACK}:{2**16 + 1}"), "is no address of an admin interface"),
        (("--envoy", f"http://ann:sesame@{LOOPBACK}:{free_port()}"), f"http://{LOOPBACK}:"),
    ):
        result = doctor(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert message in result.stderr
        assert "sesame" not in result.stderr


class _Admin(BaseHTTPRequestHandler):
    """An admin interface that answers by the host asked for."""

    answers: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.answers[str(self.headers["host"]).partition(":")[0]]
        self.send_response(200 if body else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def admin() -> Iterator[int]:
    node = {"user_agent_build_version": {"version": {"major_number": 1, "minor_number": 22}}}
    kind = "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump"
    old = {"configs": [{"@type": kind, "bootstrap": {"node": node}}]}
    _Admin.answers = {
        "127.0.0.1": json.dumps(old).encode(),
        "127.0.0.2": b"<html>",
        "127.0.0.3": b"",
        "127.0.0.4": b"{}",
        "127.0.0.5": b'{"configs": []}',
        "127.0.0.6": json.dumps({"configs": [{"@type": kind, "bootstrap": {"node": {}}}]}).encode(),
    }
    server = ThreadingHTTPServer(("0.0.0.0", 0), _Admin)  # noqa: S104 - all of 127.0.0.0/8
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("127.0.0.1", "is Envoy 1.22, and 1.36 is the oldest that these services are tested with"),
        ("127.0.0.2", "answers, but not with JSON: give the address in `admin` of Envoy's bootstrap"),
        ("127.0.0.3", "answers 404: give the address in `admin`"),
        ("127.0.0.4", "answers, but not with `configs`"),
        ("127.0.0.5", "has no bootstrap in it; give the address in `admin`"),
        ("127.0.0.6", "has no HTTP connection manager to look at: it has no listener yet"),
    ],
)
def test_what_is_no_envoy_or_too_old_a_one_is_refused(admin: int, host: str, message: str) -> None:
    result = doctor("--envoy", f"{host}:{admin}")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"http://{host}:{admin}/config_dump: {message}" in result.stderr


def test_hostile_shapes_are_findings_and_no_traceback(tmp_path: Path) -> None:
    config = healthy()
    manager(config)["http_filters"] = [
        None,
        "text",
        {"name": 1, "typed_config": []},
        {"typed_config": {"@type": 5}},
    ]
    manager(config)["route_config"] = "no mapping"
    result = doctor("--bootstrap", written(tmp_path, config))
    assert result.returncode == 0, result.stderr
    assert "[authz-missing]" in result.stdout


def test_an_admin_that_never_comes_to_an_end_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PATIENCE_S", 0.2)
    ended = Event()

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while not ended.wait(0.01):
                    self.wfile.write(b" ")
            except OSError:
                pass

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, 0), Endless) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            result = doctor("--envoy", f"{LOOPBACK}:{server.server_port}")
        finally:
            ended.set()
            server.shutdown()
            thread.join()
    assert (result.returncode, result.stdout) == (2, "")
    assert "no whole answer within 0.2 s; give the address" in result.stderr
