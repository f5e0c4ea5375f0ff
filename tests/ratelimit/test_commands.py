"""The operators' commands: what they print, as text and as data, and their exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from envoy_demo.valkey import Valkey
from envoy_ratelimit.cli import app
from envoy_sidecar import cli
from tests.ratelimit.test_schema import SCHEMA

LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 5 }
  - key: path
    value: /api/*
    shadow_mode: true
    rate_limit: { unit: minute, requests_per_unit: 5 }
  - key: free
    rate_limit: { unlimited: true }
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    file = tmp_path / "limits.yaml"
    file.write_text(LIMITS, "utf-8")
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.run(app, arguments)
        shown = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, shown.out, shown.err

    return call


def test_lint_is_silent_about_what_is_clean(run: Run, limits: Path) -> None:
    assert run("lint", str(limits)) == (0, "", "3 limits in 1 domain: clean\n")
    code, shown, _ = run("lint", str(limits), "--format", "json")
    assert (code, json.loads(shown)) == (0, [])


def test_lint_names_each_finding_of_each_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("domain: a\ndescriptors:\n  - kee: user\n", "utf-8")
    (tmp_path / "b.yaml").write_text("domain: b\ndescriptors:\n  - key: ''\n", "utf-8")
    code, shown, said = run("lint", str(tmp_path))
    assert code == 1
    assert f"{tmp_path}/a.yaml:3:5: error: unknown key 'kee'" in shown
    assert f"{tmp_path}/b.yaml:3:10: error: key must not be empty" in shown
    assert said == f"{len(shown.splitlines())} findings\n"
    code, shown, _ = run("lint", str(tmp_path), "--format", "json")
    rows = json.loads(shown)
    assert code == 1
    assert {(Path(row["file"]).name, row["line"]) for row in rows} == {("a.yaml", 3), ("b.yaml", 3)}
    assert all(row["message"] for row in rows)


@pytest.mark.parametrize("arguments", [["lint"], ["lint", "/nowhere.yaml"], ["lint", "--nonsense"]])
def test_lint_of_nothing_is_a_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


def test_schema_is_that_of_the_files(run: Run) -> None:
    code, shown, _ = run("schema")
    assert code == 0
    assert json.loads(shown) == SCHEMA


def test_explain_says_which_limit_holds_and_why(run: Run, limits: Path) -> None:
    arguments = ("explain", "--config", str(limits), "--domain", "edge")
    code, shown, _ = run(*arguments, "path=/api/x")
    assert code == 0
    assert "the pattern fits" in shown
    assert "the limit of 'path_/api/*' applies: 5/MINUTE, in shadow mode" in shown
    code, shown, _ = run(*arguments, "path=/x", "+", "user=[bold]ann")
    assert code == 0
    assert "the pattern does not fit '/x'" in shown
    assert "user=[bold]ann" in shown
    code, shown, _ = run(*arguments, "nobody=x", "--format", "json")
    (row,) = json.loads(shown)
    assert (code, row["rule"], row["state"]) == (1, None, None)
    assert "matches nothing" in row["conclusion"]


def test_a_descriptor_may_stand_behind_any_option_and_several_paths_be_named(
    run: Run, limits: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(
        "domain: other\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 9}}]", "utf-8"
    )
    code, shown, _ = run(
        "explain", "--domain", "other", "--config", str(limits), "--config", str(other), "k=v"
    )
    assert code == 0
    assert "9/DAY" in shown
    code, _, said = run("explain", "--config", str(limits), "user=x")
    assert code == 2
    assert "--domain (or RATELIMIT_DOMAIN) is required" in said


def test_explain_of_a_domain_that_is_not_there_names_those_that_are(run: Run, limits: Path) -> None:
    code, _, said = run("explain", "--config", str(limits), "--domain", "egde", "user=x")
    assert (code, said) == (1, "the domain 'egde' is not configured: edge\n")


@pytest.mark.parametrize("descriptor", [[], ["+"], ["user=x", "+"], ["=x"]])
def test_what_is_no_descriptor_is_a_2(run: Run, limits: Path, descriptor: list[str]) -> None:
    assert run("explain", "--config", str(limits), "--domain", "edge", *descriptor)[0] == 2


def test_a_bucket_is_shown_adjusted_and_filled(run: Run, limits: Path, valkey: Valkey) -> None:
    user = f"user={uuid4()}"
    where = ("--config", str(limits), "--domain", "edge", "--store", valkey.url, user, "--format", "json")

    def left(*command: str) -> tuple[int, int]:
        code, shown, _ = run(*command, *where)
        (row,) = json.loads(shown)
        remaining: int = row["bucket"]["remaining"]
        return code, remaining

    assert left("get") == (0, 5)
    assert left("adjust", "--by", "-3") == (0, 2)
    assert left("adjust", "--by", "-3") == (1, 2)
    assert left("adjust", "--by", "1") == (0, 3)
    code, shown, _ = run("explain", *where)
    (row,) = json.loads(shown)
    assert (code, row["rule"], row["state"]["remaining"]) == (0, "user", 3)
    assert left("reset") == (0, 5)
    assert left("get") == (0, 5)
    code, shown, _ = run("get", *where[:-2])
    assert code == 0
    assert "5 of 5" in shown


def test_what_has_no_bucket_is_a_finding(run: Run, limits: Path, valkey: Valkey) -> None:
    where = ("--config", str(limits), "--domain", "edge", "--store", valkey.url)
    for descriptor in ("free=x", "nobody=x"):
        code, shown, _ = run("get", *where, descriptor)
        assert code == 1
        assert "no bucket" in shown


@pytest.mark.parametrize("store", ["memory:", "redis://me:hidden@127.0.0.1:1", "http://me:hidden@x"])
def test_a_store_that_cannot_be_asked_is_a_2_without_its_password(run: Run, limits: Path, store: str) -> None:
    code, shown, said = run("get", "--config", str(limits), "--domain", "edge", "--store", store, "user=x")
    assert code == 2
    assert "--store" in said
    assert "hidden" not in shown + said


def test_limits_that_are_broken_are_a_2_for_those_who_need_them(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("domain: [", "utf-8")
    for command in ("explain", "get"):
        code, _, said = run(command, "--config", str(file), "--domain", "d", "--store", "redis://x", "a=b")
        assert code == 2
        assert "limits.yaml:" in said


def test_serve_wants_one_source_of_limits(run: Run, limits: Path) -> None:
    for arguments in ([], ["--config", str(limits), "--config-xds", "127.0.0.1:1"]):
        code, _, said = run("serve", *arguments)
        assert code == 2
        assert "--config PATH" in said


@pytest.mark.parametrize(
    "options",
    [
        ["--config-xds", "nonsense"],
        ["--config-xds", "127.0.0.1:1", "--config-xds-header", "hidden"],
        ["--config-xds", "127.0.0.1:1", "--config-xds-tls-cert", "x"],
        ["--config", "x", "--near-limit-ratio", "2"],
        ["--config", "x", "--decision-log", "1.5"],
    ],
)
def test_options_that_cannot_be_are_refused(run: Run, options: list[str]) -> None:
    code, shown, said = run("serve", *options)
    assert code == 2
    assert "hidden" not in shown + said
