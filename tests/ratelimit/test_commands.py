"""The operators' commands: what they print, as text and as data, and their exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from envoy_demo.valkey import Valkey
from envoy_ratelimit.cli import app
from envoy_ratelimit.config import load_rules
from envoy_ratelimit.core.limiter import Limiter
from envoy_ratelimit.core.rule import Rate, Unit
from envoy_ratelimit.stores import open_store
from envoy_ratelimit.wire import read_request
from envoy_ratelimit.wire_json import make_request
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
ABSENT = (
    "no such bucket was in the store: nothing is taken from it, or `serve` has other limits, or another "
    "--default-algorithm, --store, --store-per-second, --store-key-prefix or --store-spread\n"
)
Run = Callable[..., tuple[int, str, str]]
Ask = Callable[..., tuple[int, list[Any], str]]


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


def test_lint_names_a_file_of_another_suffix_that_holds_limits(run: Run, limits: Path) -> None:
    (limits.parent / "more").write_text(LIMITS.replace("edge", "mesh"), "utf-8")
    code, shown, said = run("lint", str(limits.parent))
    assert (code, said) == (1, "1 finding\n")
    assert shown.startswith(f"{limits.parent}/more:1:1: warning: is not read, though it holds limits")


def test_lint_names_a_path_that_is_not_there_and_what_the_others_hold(
    run: Run, limits: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("domain: a\ndescriptors:\n  - kee: user\n", "utf-8")
    code, shown, said = run("lint", str(limits), str(bad), "/nowhere")
    assert code == 2
    assert f"{bad}:3:5: error: unknown key 'kee'" in shown
    assert "/nowhere:1:1: error: can't be read: No such file or directory" in shown
    assert said == f"{len(shown.splitlines())} findings\n"
    code, shown, _ = run("lint", str(bad), "/nowhere", "--format", "json")
    assert code == 2
    assert {row["file"] for row in json.loads(shown)} == {str(bad), "/nowhere"}


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
    assert shown.splitlines()[-1].split()[-5:] == ["5", "of", "5", "│", "full"]
    assert run("explain", *where[:-2])[1].rstrip().endswith("bucket of user: 5 of 5 left, full")


ALGORITHMS = ["token_bucket", "fixed_window", "sliding_window"]


@pytest.fixture
def ask(run: Run, tmp_path: Path, valkey: Valkey) -> Ask:
    """Ask about buckets by limits that are written here, each time of the same values, which no other test has."""
    value = str(uuid4())

    def call(limits: str, command: str, *arguments: str) -> tuple[int, list[Any], str]:
        file = tmp_path / "written.yaml"
        file.write_text(f"domain: edge\ndescriptors:\n{limits}", "utf-8")
        where = ("--config", str(file), "--domain", "edge", "--store", valkey.url, "--format", "json")
        code, shown, said = run(command, *where, *(text.replace("=x", f"={value}") for text in arguments))
        return code, json.loads(shown), said.replace(value, "x")

    return call


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_debt_is_taken_said_and_cleared(ask: Ask, algorithm: str) -> None:
    limit = f"unit: year, requests_per_unit: 10, charge: always, algorithm: {algorithm}"
    limits = f"  - {{ key: bytes, rate_limit: {{ {limit} }} }}\n"
    for taken in (30, 50_000, 10**30):
        code, (row,), said = ask(limits, "adjust", "--by", f"-{taken}", "bytes=x")
        taken_all = f"less than {taken} was left: all of it was taken, and the rest is a debt\n"
        assert said == f"bytes=x: {ABSENT}bytes=x: {taken_all}"
        assert (code, row["bucket"]["remaining"], row["bucket"]["full_in_s"]) == (0, 0, None)
        assert row["bucket"]["debt_s"] > 0
        for command, expected in (("reset", ""), ("get", f"bytes=x: {ABSENT}")):
            code, (row,), said = ask(limits, command, "bytes=x")
            assert (code, row["bucket"]["remaining"], row["bucket"]["debt_s"], said) == (
                0,
                10,
                None,
                expected,
            )


def test_a_sliding_window_is_filled_though_both_its_counts_are_as_high_as_can_be(
    ask: Ask, valkey: Valkey
) -> None:
    limit = "unit: year, requests_per_unit: 10, charge: always, algorithm: sliding_window"
    limits = f"  - {{ key: bytes, rate_limit: {{ {limit} }} }}\n"
    with redis.Redis(port=valkey.port, decode_responses=True) as client:
        before = set(client.scan_iter())
        ask(limits, "adjust", "--by", f"-{10**30}", "bytes=x")
        (key,) = set(client.scan_iter()) - before
        start, used, _ = str(client.get(key)).split(":")
        client.set(key, f"{start}:{used}:{used}")
        _, (row,), _ = ask(limits, "reset", "bytes=x")
        assert row["bucket"]["remaining"] == 10
        assert not client.exists(key)


def test_a_ban_among_them_does_not_keep_the_others_from_being_filled(ask: Ask) -> None:
    limits = (
        "  - { key: user, rate_limit: { unit: day, requests_per_unit: 5 } }\n"
        "  - { key: banned, rate_limit: { unit: day, requests_per_unit: 0 } }\n"
    )
    ask(limits, "adjust", "--by", "-3", "user=x")
    code, rows, said = ask(limits, "adjust", "--by", "1", "user=x", "+", "banned=x")
    assert (code, [row["bucket"]["remaining"] for row in rows]) == (1, [2, 0])
    assert said == (
        "user=x: nothing was put in, for another one refused\nbanned=x: it is a ban: nothing was put in\n"
    )
    code, rows, said = ask(limits, "reset", "user=x", "+", "banned=x")
    assert (code, [row["bucket"]["remaining"] for row in rows], said) == (0, [5, 0], "")


@pytest.mark.parametrize("mode", ["shadow_mode", "quota_mode"])
def test_what_a_limit_that_only_watches_lacks_is_not_taken_and_said(ask: Ask, mode: str) -> None:
    limits = (
        f"  - {{ key: user, {mode}: true, rate_limit: {{ unit: day, requests_per_unit: 5 }} }}\n"
        f"  - {{ key: team, {mode}: true, rate_limit: {{ unit: day, requests_per_unit: 50 }} }}\n"
    )
    code, rows, said = ask(limits, "adjust", "--by", "-30", "user=x", "+", "team=x")
    assert code == 1
    assert said == f"user=x: {ABSENT}team=x: {ABSENT}user=x: less than 30 was left: nothing was taken\n"
    assert [row["bucket"]["remaining"] for row in rows] == [5, 20]


REPLACED = """
  - key: base
    rate_limit: { unit: minute, requests_per_unit: 2, name: base }
  - key: up
    rate_limit: { unit: day, requests_per_unit: 5, replaces: [{ name: base }] }
"""


def test_a_limit_that_is_replaced_is_said_to_be(ask: Ask, run: Run, tmp_path: Path) -> None:
    both = ("base=x", "+", "up=x")
    code, (base, up), _ = ask(REPLACED, "get", *both)
    assert code == 1
    assert (base["bucket"], base["why"]) == (None, "replaced by 'up'")
    assert up["bucket"]["remaining"] == 5
    code, (base, up), _ = ask(REPLACED, "explain", *both)
    assert (code, base["replaced_by"], base["state"], up["replaced_by"]) == (0, ["up"], None, [])
    assert base["conclusion"] == "the limit of 'base' is replaced by 'up'"
    assert up["state"]["remaining"] == 5
    without_a_store = ("explain", "--config", str(tmp_path / "written.yaml"), "--domain", "edge")
    code, shown, _ = run(*without_a_store, *both)
    assert code == 0
    assert "the limit of 'base' is replaced by 'up'\n" in shown
    code, shown, _ = run(*without_a_store, "base=x")
    assert "the limit of 'base' applies: 2/MINUTE" in shown


def test_where_limits_replace_each_other_none_applies(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(
        "domain: edge\ndescriptors:\n"
        "  - { key: a, rate_limit: { unit: day, requests_per_unit: 1, name: a, replaces: [{ name: b }] } }\n"
        "  - { key: b, rate_limit: { unit: day, requests_per_unit: 1, name: b, replaces: [{ name: a }] } }\n",
        "utf-8",
    )
    assert run("explain", "--config", str(file), "--domain", "edge", "a=x", "+", "b=x")[0] == 1


def test_what_has_no_bucket_is_a_finding(run: Run, limits: Path, valkey: Valkey) -> None:
    where = ("--config", str(limits), "--domain", "edge", "--store", valkey.url)
    for descriptor, why in (("free=x", "it is unlimited"), ("nobody=x", "no limit applies")):
        code, shown, _ = run("get", *where, descriptor)
        assert code == 1
        assert f"no bucket: {why}" in shown


@pytest.mark.parametrize("command", [["get"], ["reset"], ["adjust", "--by", "1"]])
def test_a_domain_that_is_not_there_has_no_buckets(
    run: Run, limits: Path, valkey: Valkey, command: list[str]
) -> None:
    where = ("--config", str(limits), "--domain", "egde", "--store", valkey.url)
    assert run(*command, *where, "user=x") == (1, "", "the domain 'egde' is not configured: edge\n")


def test_the_bucket_of_a_limit_in_the_request_is_one_of_its_own(
    ask: Ask, limits: Path, valkey: Valkey
) -> None:
    file = "  - { key: user, rate_limit: { unit: day, requests_per_unit: 5 } }\n"
    store = open_store(valkey.url, timeout_s=5)
    service = Limiter(load_rules([limits]).rules, store)
    entries = (("user", "override"),)
    request = read_request(make_request("edge", [entries], override=Rate(3, Unit.DAY)))
    assert [over for over, _ in service.decide([request] * 4)] == [False, False, False, True]
    store.close()
    override = ("--override", "3/Day", "user=override")
    for command, left in ((("get",), 0), (("adjust", "--by", "1"), 1), (("reset",), 3)):
        code, (row,), _ = ask(file, *command, *override)
        bucket = row["bucket"]
        assert (code, bucket["rule"], bucket["limit"], bucket["remaining"]) == (0, "override", "3/DAY", left)
    assert ask(file, "get", "user=override")[1][0]["bucket"]["remaining"] == 5


@pytest.mark.parametrize("override", ["3", "3/week", "-3/day", "x/day", "4294967296/day", "/", "²/day"])
def test_what_no_request_can_bring_along_is_a_2(run: Run, limits: Path, override: str) -> None:
    arguments = (
        "--config",
        str(limits),
        "--domain",
        "edge",
        "--store",
        "redis://x",
        f"--override={override}",
    )
    code, _, said = run("get", *arguments, "user=x")
    assert code == 2
    assert "write REQUESTS/UNIT" in said


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
    code, _, said = run("serve")
    assert (code, "write where limits come from: --config PATH" in said) == (2, True)
    code, _, said = run("serve", "--config", str(limits), "--config-xds", "127.0.0.1:1")
    assert (code, "write one of them, not both" in said) == (2, True)


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
