"""The commands about sessions, typed at a running service."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from envoy_sidecar import cli
from envoy_tap.cli import app
from envoy_tap.client import SessionClient
from envoy_tap.commands import following
from envoy_tap.commands.meter import Meter
from envoy_tap.commands.output import Format, underlined
from envoy_tap.shown import sessions_table
from tests.tap.building import exchange
from tests.tap.commands.desk import Desk, Shell
from tests.tap.export.samples import BINARY, CUT, HOSTILE, ORDER, request, response


def started(shell: Shell, *arguments: str) -> str:
    ran = shell("start", *arguments, "--reason", "INC-1", "--detach")
    assert ran.code == 0, ran.err
    return ran.out.strip()


@pytest.fixture
def session(served: Desk, shell: Shell) -> str:
    session_id = started(shell)
    served.capture(session_id, ORDER, exchange(request(HOSTILE.encode()), response(status=b"503")))
    return session_id


def test_options_and_predicate_become_one_predicate(shell: Shell) -> None:
    session_id = started(
        shell,
        "latency>1s or status=5xx",
        *(
            "--method",
            "POST",
            "--path",
            "/orders/{id}",
            "--authority",
            "shop",
            "--header",
            "X-A=1",
            "--header",
            "x-b",
        ),
        *("--slower-than", "250ms", "--source", "10.0.0.0/8", "--grpc-method", "a.B/C", "--sample", "5%"),
        *("--node", "edge-*", "--node-cluster", "edge", "--node-metadata", "team=shop"),
        *("--for", "90s", "--bytes", "1M", "--body-bytes", "16K", "--redact", "x-pin", "--redact", "a.b[0]"),
    )
    found = json.loads(shell("show", session_id, "--format", "json").out)
    assert found["predicate"] == (
        '(latency > 1s or status = 5xx) and method = "POST" and authority = "shop" and grpc.method = "a.B/C"'
        ' and path like "/orders/{id}" and header["x-a"] = "1" and header["x-b"] exists and latency > 250ms'
        " and source.address = 10.0.0.0/8 and sample(5%)"
    )
    assert found["nodes"]["ids"] == ["edge-*"]
    assert found["nodes"]["metadata"] == {"team": "shop"}
    assert (found["limits"]["duration_s"], found["limits"]["bytes"], found["limits"]["body_bytes"]) == (
        90,
        1 << 20,
        16 << 10,
    )
    assert "x-pin" in found["redaction"]["headers"]
    assert found["redaction"]["paths"] == ["a.b[0]"]


def test_what_will_be_undecided_is_said_and_what_was_started_is_what_is_written(shell: Shell) -> None:
    ran = shell("start", "body*=bob@example.com", "--reason", "x", "--detach")
    assert ran.code == 0
    assert len(ran.out) == len("0123456789ab\n")
    assert ran.err.startswith('warning: body *= "bob@example.com" looks for what is redacted')


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["path=orders"], "'orders' is not a path; one begins with /\n  path=orders\n       ^^^^^^\n"),
        (
            ["status=5xx and (staus=1)"],
            "did you mean status?\n  status=5xx and (staus=1)\n                  ^^^^^\n",
        ),
        (["--status", "5y"], "--status: '5y' is not a status"),
        (["--header", "a b=1"], "--header: "),
        (["--for", "5 min"], "--for: '5 min' is not a duration; write 90s, 10m or 2h"),
        (["--bytes", "lots"], "--bytes: 'lots' is not a size"),
        (["--node-metadata", "x"], "--node-metadata: 'x' is not NAME=VALUE"),
        (["--sample", "200%"], "--sample: "),
    ],
)
def test_what_cannot_be_meant_is_shown(shell: Shell, arguments: list[str], said: str) -> None:
    ran = shell("start", *arguments, "--reason", "x")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_what_the_service_refuses_is_marked_in_what_was_sent(shell: Shell) -> None:
    ran = shell("start", "status=5xx", "--header", "cookie=a", "--reason", "x")
    assert (ran.code, ran.out) == (1, "")
    sent = '  status = 5xx and header["cookie"] = "a"\n'
    assert sent + " " * 19 + "^" * 6 + "\n" in ran.err
    assert "ask only whether it is there: header[cookie] exists" in ran.err


def test_a_mark_stands_below_wide_characters_and_in_the_right_line() -> None:
    assert underlined("path=/日本 and\nx=1", 13) == "  x=1\n  ^"
    assert underlined("a=日本 b", 5) == "  a=日本 b\n         ^"


def test_what_the_service_refuses_is_said(shell: Shell) -> None:
    ran = shell("start", "--reason", "x", "--exchanges", "1000001")
    assert (ran.code, ran.err) == (
        1,
        "envoy-tap: limits.exchanges: 1000001 is out of range; 1 to 100000 here\n",
    )


def test_sessions_are_listed_shown_and_stopped(shell: Shell, session: str) -> None:
    listed = shell("list")
    assert session in listed.out
    assert shell("show", session[:8]).out.startswith(f"session {session} active: 2/1000 exchanges")
    assert shell("stop", session).out.startswith(f"session {session} stopped: 2/1000 exchanges")
    assert shell("delete", session).code == 0
    gone = shell("show", session)
    assert (gone.code, gone.err) == (1, "envoy-tap: there is no such session\n")
    assert shell("show", "nonsense").code == 2


def test_exchanges_are_listed_by_a_filter(shell: Shell, session: str) -> None:
    found = json.loads(shell("list", session, "--filter", "status=5xx", "--format", "json").out)
    assert [each["seq"] for each in found] == [2]
    assert "503" in shell("list", session).out


def test_an_exchange_is_shown_decoded_and_cannot_control_the_terminal(shell: Shell, served: Desk) -> None:
    session_id = started(shell)
    evil = exchange(
        request(b"\x1b]0;owned\x07 text", ("content-type", b"text/plain"), ("x-a", b"\x1b[2J")), CUT.response
    )
    served.capture(session_id, ORDER, evil)
    shown = shell("show", session_id, "1").out
    assert '  {\n    "item": "tea"\n  }' in shown
    assert "POST /orders?a=1&b=%20   https://shop.example" in shown
    assert "  seen by edge-1 (edge)\n  redacted\n" in shown
    evil_shown = shell("show", session_id, "2").out
    assert "\x1b" not in evil_shown
    assert "the response was not captured" in evil_shown
    assert (
        json.loads(shell("show", session_id, "1", "--format", "json").out)["decoded"]["request"]["kind"]
        == "text"
    )


def test_a_body_is_written_byte_by_byte(served: Desk, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    session_id = str(httpx.post(f"http://{served.admin}/api/v1/sessions", json={"why": "x"}).json()["id"])
    served.capture(session_id, CUT)
    with pytest.raises(SystemExit):
        cli.run(app, ["show", session_id, "1", "--body", "request", "--admin", served.admin])
    assert capsysbinary.readouterr().out == BINARY


def test_a_session_is_followed_from_its_beginning_to_its_end(
    shell: Shell, served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(client: SessionClient, session: dict[str, Any], form: Format, *, after: int | None) -> int:
        served.capture(session["id"], ORDER, ORDER)
        return following.follow(client, session, form, after=after)

    monkeypatch.setattr("envoy_tap.commands.start.follow", late)
    ran = shell("start", "--reason", "INC-7", "--exchanges", "2")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert "edge-1 POST shop.example/orders?a=1&b=%20 200 500.0ms" in lines[0]
    assert "exhausted: 2/2 exchanges" in ran.err.splitlines()[-1]
    (ended,) = [line for line in shell("show", "last").out.splitlines() if "ended:" in line]
    assert ended.endswith(" used up by its limit of exchanges")


def test_ctrl_c_stops_what_was_started_or_leaves_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("envoy_tap.commands.start.follow", interrupted)
    assert "stopped: 0/1000" in shell("start", "--reason", "x").err
    left = shell("start", "--reason", "x", "--on-interrupt", "leave")
    assert "goes on; `envoy-tap watch" in left.err
    assert "active" in shell("show", "last").out


def test_watching_takes_exchanges_after_a_number_and_by_a_filter(shell: Shell, session: str) -> None:
    shell("stop", session)
    found = shell("watch", session, "--after", "0", "--filter", "status=5xx", "--format", "json").out
    assert [json.loads(line)["seq"] for line in found.splitlines()] == [2]


def test_nodes_are_listed(shell: Shell) -> None:
    ran = shell("nodes")
    assert ran.code == 0
    assert "no Envoy is connected" in ran.err


def test_the_audit_log_is_listed(shell: Shell, session: str) -> None:
    entries = json.loads(shell("audit", "list", "--limit", "1000", "--format", "json").out)
    assert [each["action"] for each in entries if each["session"] == session] == ["start"]
    assert "start" in shell("audit", "list").out


def test_the_meter_tells_what_is_used_and_lost() -> None:
    session = {
        "id": "0123456789ab",
        "state": "active",
        "expires_at_s": 1192,
        "counts": {"captured": 12, "bytes": 1 << 20, "skipped": 3},
        "limits": {"duration_s": 600, "exchanges": 1000, "bytes": 64 << 20},
    }
    console = Console(file=StringIO(), width=140)
    console.print(Meter(session, lambda: 1000.0)._line())
    said = str(console.file.getvalue()) if isinstance(console.file, StringIO) else ""
    for part in ("3:12 left", "12/1000", "1 MiB/64 MiB", "skipped 3"):
        assert part in said


@pytest.mark.parametrize(
    ("typed", "choice"), [("n\n", "leave"), ("\n", "stop"), ("y\n", "stop"), ("", "stop")]
)
def test_at_a_terminal_ctrl_c_asks(typed: str, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(typed))
    assert following._asked("0123456789ab") == choice


def test_a_token_comes_from_a_file_or_the_environment(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell("list", "--token", "x").code == 2
    (tmp_path / "empty").write_text("", "ascii")
    assert "is empty" in shell("list", "--token-file", str(tmp_path / "empty")).err
    assert "No such file" in shell("list", "--token-file", str(tmp_path / "none")).err
    monkeypatch.setenv("TAP_TOKEN", "a\nb")
    assert shell("list").code == 2


def test_a_service_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Shell("127.0.0.1:1", capsys)("list")
    assert (ran.code, ran.err) == (
        2,
        "envoy-tap: no answer from 127.0.0.1:1: [Errno 111] Connection refused\n",
    )


def test_the_table_of_sessions_fits_80_columns_and_breaks_no_word() -> None:
    session = {
        "id": "0123456789ab",
        "state": "exhausted",
        "expires_at_s": 1,
        "counts": {"captured": 1000},
        "limits": {"exchanges": 1000},
        "who": "olga@example.com",
        "why": "INC-1234: 502 at the checkout\x1b[2J",
        "predicate": 'path like "/orders/**" and status >= 500',
    }
    told = Console(width=80, file=StringIO(), record=True)
    told.print(sessions_table([session]))
    lines = [line.rstrip() for line in told.export_text().splitlines()]
    assert len(lines) == 5
    assert lines[1].endswith("1000/1000  olga@example.com: INC-1234: 502")
    assert [line.strip() for line in lines[2:]] == [
        r"at the checkout\x1b[2J",
        'path like "/orders/**" and',
        "status >= 500",
    ]
