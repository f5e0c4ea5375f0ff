"""The shell gives curl exactly what was captured, whatever it was, and runs nothing else."""

import subprocess
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Exchange, Message
from tests.tap.building import exchange
from tests.tap.export.samples import BINARY, CUT, ORDER, request, written

# Stands in for curl: prints its arguments and what it gets.
FAKE = b"""
curl() { printf '%s\\0' "$@"; printf 'stdin\\0'; case " $* " in *' @- ') cat ;; esac; }
"""


def run(script: bytes, **environment: str) -> list[bytes]:
    """Return the arguments that the script's one curl gets, then `stdin`, then what it reads there."""
    done = subprocess.run(
        ["sh"],
        input=FAKE + script,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    return done.stdout.split(b"\0")


def given_to_curl(one: Exchange, **environment: str) -> tuple[list[bytes], bytes]:
    found = run(written("curl", one), **environment)
    at = found.index(b"stdin")
    return found[:at], b"\0".join(found[at + 1 :])


def test_an_exchange_is_a_command() -> None:
    arguments, _ = given_to_curl(ORDER)
    assert arguments == [
        b"--include",
        b"--globoff",
        b"--path-as-is",
        b"--proto",
        b"=http,https",
        b"--url",
        b"https://shop.example/orders?a=1&b=%20",
        b"--request",
        b"POST",
        b"--header",
        b"content-type: application/json",
        b"--header",
        b"cookie: a=1; b=2",
        b"--data-raw",
        b'{"item": "tea"}',
    ]


def test_it_can_be_sent_somewhere_else() -> None:
    arguments, _ = given_to_curl(ORDER, TO="http://127.0.0.1:1")
    assert b"http://127.0.0.1:1/orders?a=1&b=%20" in arguments


def test_a_body_that_is_not_text_goes_by_stdin_and_an_empty_header_is_sent_empty() -> None:
    arguments, stdin = given_to_curl(CUT)
    assert arguments[-2:] == [b"--data-binary", b"@-"]
    assert stdin == BINARY
    assert b"x-empty;" in arguments
    assert b"# 1: POST /orders?a=1&b=%20, answered by nothing; truncated" in written("curl", CUT)


NASTY = st.lists(
    st.sampled_from(
        [
            "'",
            '"',
            "`",
            "$(id)",
            "${x}",
            "\\",
            "\n",
            "\r",
            "!",
            "@",
            "-",
            ";",
            "&",
            "|",
            "#",
            " ",
            "a",
            "é",
            "_END",
        ]
    ),
    max_size=12,
).map("".join)


@given(
    body=NASTY.map(str.encode) | st.binary(max_size=64),
    value=NASTY,
    name=NASTY,
    method=NASTY,
    path=NASTY,
    authority=NASTY,
)
def test_nothing_that_was_captured_is_run(
    *, body: bytes, value: str, name: str, method: str, path: str, authority: str
) -> None:
    headers = (
        (":method", method.encode()),
        (":authority", authority.encode()),
        (":path", f"/{path}".encode()),
    )
    one = exchange(Message((*headers, (name, value.encode()), ("x-sent", value.encode())), body))
    arguments, stdin = given_to_curl(one)
    sent = value.replace("\n", " ").replace("\r", " ")
    assert (f"x-sent: {sent}" if sent.strip() else "x-sent;").encode() in arguments
    if arguments[-2] == b"--data-raw":
        assert arguments[-1] == body
    else:
        assert stdin == body
    urls = [after for before, after in pairwise(arguments) if before == b"--url"]
    assert len(urls) == 1
    assert urls[0].startswith(b"http://")


def test_a_terminal_that_shows_the_script_obeys_nothing_in_it() -> None:
    evil = exchange(request(b"\x1b[2J\r", ("x-a", b"\x1b]0;owned\x07"), ("x-b", "\u202e".encode())))
    script = written("curl", evil)
    assert all(char.isprintable() or char == "\n" for char in script.decode())
    assert b"# left out, as a terminal would obey it: x-a, x-b\n" in script
    assert given_to_curl(evil)[1] == b"\x1b[2J\r"


def test_a_large_body_is_no_argument() -> None:
    _, stdin = given_to_curl(exchange(request(b"'x' " * 100_000)))
    assert stdin == b"'x' " * 100_000


def test_a_reason_of_two_lines_stays_a_comment() -> None:
    assert b"# tap session 0123456789ab: INC-1: it's?<b>broken</b> (path^=/orders)\n" in written(
        "curl", ORDER
    )
