"""The service put together: its command line, its reload, what it shows."""

from pathlib import Path

import pytest

from envoy_authz.cli import app
from envoy_authz.server import AuthzSidecar
from envoy_authz.settings import AuthzSettings
from envoy_sidecar import cli
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.pb.authz_pb2 import CheckRequest, CheckResponse
from envoy_sidecar.transport.port import Call

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}}}
spec: {{rules: [{{to: [{{operation: {{paths: ["{path}"]}}}}]}}]}}
"""


def write(folder: Path, name: str, path: str) -> None:
    (folder / f"{name}.yaml").write_text(POLICY.format(name=name, path=path), "utf-8")


def is_allowed(sidecar: AuthzSidecar, path: str) -> bool:
    request = CheckRequest()
    request.attributes.request.http.method = "GET"
    request.attributes.request.http.path = path
    (answer,) = sidecar.services[0].unary["Check"]([Call(request.SerializeToString(), None)])
    assert isinstance(answer, bytes)
    return CheckResponse.FromString(answer).status.code == 0


def test_a_reload_decides_by_what_the_files_say_now(tmp_path: Path) -> None:
    write(tmp_path, "first", "/first")
    sidecar = AuthzSidecar([tmp_path])
    write(tmp_path, "second", "/second")
    assert (is_allowed(sidecar, "/first"), is_allowed(sidecar, "/second")) == (True, False)
    assert sidecar.reload() == "policies: 2, files: 2"
    assert is_allowed(sidecar, "/second")
    assert sidecar.describe()["policies"] == [
        {"name": "first", "action": "ALLOW", "rules": 1},
        {"name": "second", "action": "ALLOW", "rules": 1},
    ]


def test_a_broken_reload_leaves_all_of_the_old_policies(tmp_path: Path) -> None:
    write(tmp_path, "first", "/first")
    sidecar = AuthzSidecar([tmp_path])
    write(tmp_path, "first", "/elsewhere")
    (tmp_path / "broken.yaml").write_text("kind: [", "utf-8")
    with pytest.raises(InvalidConfigurationError):
        sidecar.reload()
    assert (is_allowed(sidecar, "/first"), is_allowed(sidecar, "/elsewhere")) == (True, False)


def test_policies_are_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["serve"])
    assert stopped.value.code == 2
    assert "--policies" in capsys.readouterr().err


def test_a_start_with_broken_policies_names_every_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("kind: Nonsense\n", "utf-8")
    identity = tmp_path / "identity"
    identity.write_text("kind: Nonsense\n", "utf-8")
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["serve", "--policies", str(tmp_path), "/nowhere", "--identity", str(identity)])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/a.yaml:1:7: error" in said
    assert f"{tmp_path}/b.yaml:1:7: error" in said
    assert "/nowhere:1:1: error" in said
    assert f"{identity}:1:7: error" in said


def test_the_options_reach_the_policies(tmp_path: Path) -> None:
    write(tmp_path, "first", "/first")
    settings = AuthzSettings(
        policies=(tmp_path,),
        default_action="allow",
        root_namespace="root",
        trusted_hops=2,
        path_normalization="MERGE_SLASHES",
        path_ambiguity="report",
    )
    described = AuthzSidecar(settings.policies, settings.decisions).describe()
    assert {name: described[name] for name in ("default_action", "root_namespace", "trusted_hops")} == {
        "default_action": "ALLOW",
        "root_namespace": "root",
        "trusted_hops": 2,
    }
    assert (described["path_normalization"], described["path_ambiguity"]) == ("MERGE_SLASHES", "report")


def test_several_namespaces_are_a_warning_since_requests_must_say_theirs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        text = POLICY.format(name=name, path="/").replace("name: " + name, f"name: {name}, namespace: {name}")
        (tmp_path / f"{name}.yaml").write_text(text, "utf-8")
    described = AuthzSidecar([tmp_path]).describe()
    assert "policies of several namespaces (one, two)" in str(described["warnings"])
