"""Exchanges are on disk as whole JSON lines that only this user can read, whatever is or happens in the folder."""

import errno
import json
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Message
from envoy_tap.sink import FILE_NAME, OLDER_FILE_NAME, JsonLinesSink, as_object
from tests.tap.building import RESPONSE, exchange


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let the kernel refuse to make a file longer, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_folder_and_file_are_for_this_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        JsonLinesSink(tmp_path / "a" / "tap").write([exchange()])
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "tap") == 0o700
    assert mode(tmp_path / "a" / "tap" / FILE_NAME) == 0o600


def test_the_file_is_there_before_the_first_exchange(tmp_path: Path) -> None:
    JsonLinesSink(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == b""


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text("{}\n")
    path.chmod(0o644)
    JsonLinesSink(tmp_path)
    assert mode(path) == 0o600
    assert path.read_text() == "{}\n"


def test_the_form_of_an_exchange() -> None:
    assert as_object(exchange()) == {
        "time": "1970-01-01T00:00:01.500000Z",
        "finished": "1970-01-01T00:00:02.000000Z",
        "node": {"id": "edge-1", "cluster": "edge"},
        "tap_id": "tap-1",
        "trace_id": "7",
        "source": {"address": None, "principal": None},
        "facts": {},
        "request": {
            "method": "POST",
            "scheme": None,
            "authority": None,
            "path": "/orders",
            "headers": [["x-a", "1"]],
            "body": "ping",
            "trailers": [["x-t", "q"]],
        },
        "response": {"status": 200, "headers": [["x-b", "2"]], "body": "pong", "trailers": [["x-t", "r"]]},
        "flags": {"truncated": False, "incomplete": False},
    }


def test_a_half_that_is_missing_is_null() -> None:
    found = as_object(exchange(response=None, incomplete=True))
    assert found["response"] is None
    assert found["flags"] == {"truncated": False, "incomplete": True}


def test_what_is_not_text_is_base64() -> None:
    headers = ((":path", b"/\xff"), ("x", b"\xff"), ("x", b"twice"))
    found = as_object(exchange(request=Message(headers, b"\xff\x00", (("t", b"\xfe"),))))["request"]
    assert found["path"] == "/\\xff"
    assert found["headers"] == [["x", {"base64": "/w=="}], ["x", "twice"]]
    assert (found["body"], found["body_encoding"]) == ("/wA=", "base64")
    assert found["trailers"] == [["t", {"base64": "/g=="}]]


@pytest.mark.parametrize("status", [b"", b"20", b"2000", b"9" * 5000, b"-10", "²²²".encode(), b"abc"])
def test_a_status_that_is_none_is_null(status: bytes) -> None:
    assert as_object(exchange(response=Message(((":status", status),))))["response"]["status"] is None


@given(st.binary(max_size=50), st.text(max_size=20), st.binary(max_size=20))
def test_any_exchange_is_one_line_that_reads_back(body: bytes, name: str, value: bytes) -> None:
    name = name.encode(errors="replace").decode()
    hostile = exchange(request=Message(((name, value), (":path", value)), body))
    line = json.dumps(as_object(hostile))
    assert len(line.splitlines()) == 1
    assert json.loads(line) == as_object(hostile)


def test_line_ends_and_controls_of_any_kind_stay_inside_a_line(tmp_path: Path) -> None:
    body = "a\u2028b\u0085c\u009bd\ne\r".encode()
    JsonLinesSink(tmp_path).write([exchange(request=Message((), body)), exchange()])
    assert (tmp_path / FILE_NAME).read_bytes().isascii()
    first, _ = lines(tmp_path / FILE_NAME)
    assert first["request"]["body"].encode() == body


def test_it_appends_to_what_is_there(tmp_path: Path) -> None:
    for _ in range(2):
        sink = JsonLinesSink(tmp_path)
        sink.write([exchange(), exchange()])
        sink.close()
    assert len(lines(tmp_path / FILE_NAME)) == 4


def test_half_a_line_of_a_crash_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text('{"whole":1}\n{"hal')
    JsonLinesSink(tmp_path).write([exchange()])
    first, half, last = path.read_text().splitlines()
    assert (first, half) == ('{"whole":1}', '{"hal')
    assert json.loads(last)["tap_id"] == "tap-1"


def test_a_full_file_becomes_the_older_one_and_the_oldest_goes(tmp_path: Path) -> None:
    line_bytes = len(json.dumps(as_object(exchange()), separators=(",", ":"))) + 1
    sink = JsonLinesSink(tmp_path, max_file_bytes=2 * line_bytes)
    sink.write([exchange()] * 5)
    assert len(lines(tmp_path / OLDER_FILE_NAME)) == 2
    assert len(lines(tmp_path / FILE_NAME)) == 1
    sink.write([exchange()] * 2)
    assert (len(lines(tmp_path / OLDER_FILE_NAME)), len(lines(tmp_path / FILE_NAME))) == (2, 1)
    assert mode(tmp_path / FILE_NAME) == mode(tmp_path / OLDER_FILE_NAME) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {FILE_NAME, OLDER_FILE_NAME}


def test_a_line_longer_than_the_limit_is_written_alone(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path, max_file_bytes=10)
    sink.write([exchange()])
    assert len(lines(tmp_path / FILE_NAME)) == 1
    assert not (tmp_path / OLDER_FILE_NAME).exists()


def test_a_disk_that_refuses_leaves_whole_lines_only(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    long = exchange(response=replace(RESPONSE, body=bytes(2000)))
    with files_of_at_most(2000), pytest.raises(OSError, match="File too large"):
        sink.write([exchange(), long, exchange()])
    assert len(lines(tmp_path / FILE_NAME)) == 1
    sink.write([exchange()])
    assert len(lines(tmp_path / FILE_NAME)) == 2


@pytest.mark.parametrize("take_away", [Path.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_a_file_taken_away_is_begun_anew(tmp_path: Path, take_away: Callable[[Path], object]) -> None:
    sink = JsonLinesSink(tmp_path)
    sink.write([exchange()])
    take_away(tmp_path / FILE_NAME)
    sink.write([exchange()])
    assert len(lines(tmp_path / FILE_NAME)) == 1


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / FILE_NAME).symlink_to(elsewhere)
    with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is what is asked
        JsonLinesSink(tmp_path)
    assert refused.value.errno == errno.ELOOP


def test_a_link_planted_later_is_refused(tmp_path: Path) -> None:
    sink = JsonLinesSink(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic"):
        sink.write([exchange()])
    assert elsewhere.read_bytes() == b""


def test_a_planted_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(OSError, match=r"ordinary|seek"):
        JsonLinesSink(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch(mode=0o666)
    os.chown(tmp_path / FILE_NAME, 12345, 12345)
    with pytest.raises(PermissionError):
        JsonLinesSink(tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        JsonLinesSink(tmp_path / "file" / "tap")
