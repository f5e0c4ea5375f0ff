"""The admin server's own routes, on a real process."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from envoy_ratelimit.cli import app
from envoy_ratelimit.commands.lint import lint
from envoy_sidecar import cli
from tests.ratelimit.asking import Admin, ratelimit

LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 2 }
  - key: path
    value: /api/*
    shadow_mode: true
    rate_limit: { unit: minute, requests_per_unit: 5 }
  - key: free
    rate_limit: { unlimited: true }
"""


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    folder = tmp_path_factory.mktemp("http")
    (folder / "limits.yaml").write_text(LIMITS, "utf-8")
    with ratelimit(folder, "--config", str(folder), "--decision-log", "1") as started:
        yield started


def test_json_decides_as_grpc_does(admin: Admin) -> None:
    answers = [admin.ask("edge", {"user": "json"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].json() == {
        "overallCode": "OK",
        "statuses": [
            {
                "code": "OK",
                "currentLimit": {"requestsPerUnit": 2, "unit": "DAY"},
                "limitRemaining": 1,
                "durationUntilReset": "43200s",
            }
        ],
    }
    assert answers[2].json()["overallCode"] == "OVER_LIMIT"
    assert admin.ask("edge", {"nobody": "x"}).json() == {"overallCode": "OK", "statuses": [{"code": "OK"}]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "line 1, column 1: Expecting value; write {"),
        (b'{\n  "domain": edge}', "line 2, column 13: Expecting value; write {"),
        (b"\xff\xfe", "byte 1 is not UTF-8"),
        (b"[" * 100_000, "it is nested too deep; write {"),
        (b'{"hitsAddend": ' + b"9" * 5000 + b"}", "a number has too many digits"),
        (b'{"domain": "a", "domain": "b"}', 'the key "domain" comes twice in one object; write it once'),
        ("edge", '"edge" is not right; write {'),
        ({"unknown": 1}, 'unknown key "unknown"; write one of domain, descriptors, hitsAddend'),
        (
            {"descriptors": [{"entries": [{"key": "a", "vlaue": "b"}]}]},
            'descriptors[0].entries[0]: unknown key "vlaue"; write one of key, value',
        ),
        (
            {"descriptors": [{}, {"entries": [{"key": None}, {"key": 5}]}]},
            "descriptors[1].entries[1].key: 5 is not right; write a text",
        ),
        ({"descriptors": {"entries": []}}, 'descriptors: {"entries": []} is not right; write a list'),
        (
            {"descriptors": [7]},
            "descriptors[0]: 7 is not right; write an object of entries, limit, hitsAddend",
        ),
        (
            {"descriptors": [{"limit": {"unit": "MINUTES"}}]},
            'descriptors[0].limit.unit: "MINUTES" is not right; write one of UNKNOWN, SECOND, MINUTE, HOUR, DAY',
        ),
        ({"hits_addend": -1}, "hits_addend: -1 is not right; write a whole number from 0 to 4294967295"),
        (
            {"descriptors": [{"hitsAddend": "x" * 99}]},
            f'descriptors[0].hitsAddend: "{"x" * 39}… is not right; write a whole number from 0 to 18446744073709551615',
        ),
        (
            {"descriptors": [{"isNegativeHits": 3}]},
            "descriptors[0].isNegativeHits: 3 is not right; write true or false",
        ),
    ],
)
def test_json_that_is_no_request_is_a_400_that_says_why(admin: Admin, body: object, said: str) -> None:
    answer = admin.post(body)
    assert answer.status_code == 400
    assert answer.text.startswith(f"this is not a RateLimitRequest as JSON: {said}")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"domain": "", "descriptors": [{"entries": [{"key": "user"}]}]}, "domain"),
        ({"domain": "edge"}, "descriptors"),
    ],
)
def test_json_of_a_request_that_asks_nothing_is_a_400_that_says_why(
    admin: Admin, body: object, said: str
) -> None:
    answer = admin.post(body)
    assert answer.status_code == 400
    assert said in answer.text


def test_json_that_is_too_large_is_a_413(admin: Admin) -> None:
    assert admin.post(b" " * (5 * 1024 * 1024)).status_code == 413


def test_json_is_posted(admin: Admin) -> None:
    assert admin.get("/json").status_code == 405


def test_rlconfig_has_a_line_for_each_limit(admin: Admin) -> None:
    lines = admin.get("/rlconfig").text.splitlines()
    assert [line.partition(", quota_mode")[0] for line in lines] == [
        "edge.user: unit=DAY requests_per_unit=2, shadow_mode: false",
        "edge.path_/api/*: unit=MINUTE requests_per_unit=5, shadow_mode: true",
        "edge.free: unlimited, shadow_mode: false",
    ]


def test_healthcheck_says_ok(admin: Admin) -> None:
    answer = admin.get("/healthcheck")
    assert (answer.status_code, answer.text) == (200, "OK")


def test_stats_have_the_references_names(admin: Admin) -> None:
    for _ in range(7):
        admin.ask("edge", {"path": "/api/stats"})
    stats = dict(line.split(": ") for line in admin.get("/stats").text.splitlines())
    name = "ratelimit.service.rate_limit.edge.path_/api/*"
    counts = {
        key.removeprefix(f"{name}."): int(value) for key, value in stats.items() if key.startswith(name)
    }
    assert counts == {"total_hits": 7, "within_limit": 5, "near_limit": 1, "over_limit": 2, "shadow_mode": 2}


@pytest.mark.parametrize("count", ["0", "-1", "x", "1001", "9" * 5000])
def test_top_wants_a_number(admin: Admin, count: str) -> None:
    assert admin.get(f"/top?count={count}").status_code == 400


def test_top_shows_what_is_refused_and_the_log_says_so(
    admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(9):
        admin.ask("edge", {"user": "[red]loud"})
    row = {"domain": "edge", "rule": "user", "key": "[red]loud", "hits": 7, "error": 0}
    admin.service.process.until(
        lambda: True if row in admin.get("/top").json()["denied"] else None, "the denied key in /top"
    )
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["top", "--admin", admin.address])
    assert stopped.value.code == 0
    assert "[red]loud" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.run(app, ["top", "--admin", admin.address, "--format", "json"])
    assert row in json.loads(capsys.readouterr().out)["denied"]
    admin.service.process.until_logged("rule='user' limit='2/DAY' verdict='over_limit'")


def test_top_calls_nothing_refused_that_shadow_mode_let_pass(
    admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(admin.ask("edge", {"path": "/api/watched"}).status_code == 200 for _ in range(8))
    row = {"domain": "edge", "rule": "path_/api/*", "key": "/api/watched", "hits": 3, "error": 0}
    admin.service.process.until(
        lambda: True if row in admin.get("/top").json()["shadowed"] else None, "the watched key in /top"
    )
    assert "/api/watched" not in {top["key"] for top in admin.get("/top").json()["denied"]}
    with pytest.raises(SystemExit):
        cli.run(app, ["top", "--admin", admin.address])
    refused, _, others = capsys.readouterr().out.partition("most let pass by shadow mode")
    watched, _, _ = others.partition("most hits")
    assert "/api/watched" in watched
    assert "/api/watched" not in refused


def test_check_asks_over_grpc(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    def check(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.run(
                app,
                ["check", "--listen", admin.listen, "--admin", admin.address, "--domain", "edge", *arguments],
            )
        code = stopped.value.code
        assert isinstance(code, int)
        return code, capsys.readouterr().out

    def left(shown: str) -> int:
        remaining: int = json.loads(shown)["statuses"][0].get("limitRemaining", 0)
        return remaining

    peeks = [check("user=grpc", "--peek", "--format", "json") for _ in range(2)]
    assert [(code, left(shown)) for code, shown in peeks] == [(0, 2), (0, 2)]
    assert check("user=grpc", "--hits", "2")[0] == 0
    assert [check("user=grpc", "--override", "1/day")[0] for _ in range(2)] == [0, 1]
    code, shown = check("user=grpc", "+", "free=x", "+", "nothing=x")
    assert code == 1
    assert all(part in shown for part in ("OVER_LIMIT", "2/DAY", "unlimited", "none: no limit matches"))


def test_a_service_that_is_not_there_is_a_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["check", "--listen", "127.0.0.1:1", "--domain", "d", "a=b"],
        ["top", "--admin", "127.0.0.1:1"],
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.run(app, arguments)
        assert stopped.value.code == 2
        assert "127.0.0.1:1" in capsys.readouterr().err


def test_a_ca_without_a_certificate_is_named(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("domain: edge\n", "utf-8")
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["check", "--listen", "127.0.0.1:1", "--tls-ca", str(ca), "--domain", "d", "a=b"])
    assert stopped.value.code == 2
    assert (
        capfd.readouterr().err
        == f"envoy-ratelimit: --tls-ca {ca}: there is no certificate in it; give the PEM file of the CA\n"
    )


@pytest.mark.parametrize(
    "header",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_page_in_an_operators_browser_takes_no_hits(admin: Admin, header: dict[str, str]) -> None:
    body = {"domain": "edge", "descriptors": [{"entries": [{"key": "user", "value": str(header)}]}]}
    answer = httpx.post(f"http://{admin.address}/json", content=json.dumps(body), headers=header)
    assert answer.status_code == 403
    assert admin.ask("edge", {"user": str(header)}).json()["statuses"][0]["limitRemaining"] == 1


def test_a_folder_that_is_emptied_leaves_its_limits_in_force_and_is_said_until_a_file_is_there(
    tmp_path: Path,
) -> None:
    limits, none = tmp_path / "limits", tmp_path / "limits" / "none.yaml"
    limits.mkdir()
    (limits / "limits.yaml").write_text(LIMITS, "utf-8")
    said = f"{limits}:1:1: error: no limit file is in this folder any more; the limits that were in it stay in force"
    with ratelimit(tmp_path, "--config", str(limits)) as admin:
        (limits / "limits.yaml").unlink()
        admin.service.process.until_logged("the old configuration serves on")
        ready = admin.get("/readyz")
        assert (ready.status_code, ready.text.splitlines()[:2]) == (
            200,
            ["ready", "the newest configuration is refused, the one before serves on:"],
        )
        assert said in ready.text
        assert said in admin.service.process.log_text()
        assert "edge.user" in admin.get("/rlconfig").text
        assert lint((limits,), "text") == 1
        none.write_text("domain: none", "utf-8")
        admin.service.process.until_logged("limits: 0, domains: 1, files: 1")
        assert (admin.get("/readyz").text, admin.get("/rlconfig").text) == ("ready\n", "")
        assert lint((limits,), "text") == 0
