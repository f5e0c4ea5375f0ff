"""The audit log has what was done, in its order; whatever is changed in it afterwards is found and said."""

import asyncio
import json
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_sidecar import cli
from envoy_sidecar.config.findings import Finding
from envoy_tap.access import Person, Role
from envoy_tap.audit import AUDIT_KEY, AuditLog, Recorder
from envoy_tap.audit.head import Head
from envoy_tap.audit.log import FILE_NAME, HEAD_FILE_NAME
from envoy_tap.audit.told import target
from envoy_tap.audit.verify import verified
from envoy_tap.cli import app
from envoy_tap.storage.keys import read_keys
from tests.tap.building import Clock, session

KEY, OTHER_KEY = [b"key"], [b"another"]
OLGA = Person("olga", Role.OPERATOR)


def written(folder: Path, entries: int = 5) -> list[bytes]:
    log = AuditLog(folder, KEY, Clock())
    for number in range(entries):
        log.append("olga", "operator", "view", "0123456789ab", detail={"seq": number})
    log.close()
    return lines(folder)


def lines(folder: Path) -> list[bytes]:
    return (folder / FILE_NAME).read_bytes().splitlines(keepends=True)


def findings(folder: Path, key: list[bytes] = KEY) -> list[str]:
    found = verified(folder / FILE_NAME, folder / HEAD_FILE_NAME, key)
    return [
        f"{each.position.file.rpartition('/')[2]}:{each.position.line} {each.message}"
        for each in found
        if isinstance(each, Finding)
    ]


def test_a_log_as_it_was_written_has_no_finding(tmp_path: Path) -> None:
    written(tmp_path)
    *none, head = verified(tmp_path / FILE_NAME, tmp_path / HEAD_FILE_NAME, KEY)
    assert (none, isinstance(head, Head) and head.seq) == ([], 5)
    log = AuditLog(tmp_path, KEY, Clock())
    assert log.append("adam", "admin", "delete").seq == 6
    assert [entry.who for entry in log.last(2)] == ["olga", "adam"]
    log.close()
    assert findings(tmp_path) == []
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / HEAD_FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: [found[0].replace(b"olga", b"vera"), *found[1:]], "audit.jsonl:1 the hash of entry 1"),
        (lambda found: [*found[:1], *found[2:]], "audit.jsonl:2 entry 3 stands after entry 1"),
        (lambda found: [found[1], found[0], *found[2:]], "audit.jsonl:1 entry 2 stands after entry 0"),
        (lambda found: [*found[:2], found[1], *found[2:]], "audit.jsonl:3 entry 2 stands after entry 2"),
        (lambda found: found[:-1], "audit.head:1 the log ends with entry 4, and its head says 5"),
        (lambda _found: [], "audit.head:1 the log ends with entry 0, and its head says 5"),
        (lambda found: [*found, b"rubbish\n"], "audit.jsonl:6 cannot be read"),
        (
            lambda found: [found[0].replace(b'"seq":1', b'"seq": 1'), *found[1:]],
            "audit.jsonl:1 cannot be read",
        ),
        (lambda found: [*found[:4], found[4][:30]], "audit.jsonl:5 cannot be read"),
    ],
    ids=["changed", "left out", "swapped", "repeated", "cut off", "emptied", "added", "rewritten", "torn"],
)
def test_any_change_is_found(tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], said: str) -> None:
    changed = change(written(tmp_path))
    (tmp_path / FILE_NAME).write_bytes(b"".join(changed))
    assert any(each.startswith(said) for each in findings(tmp_path)), findings(tmp_path)


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    written(folder, 2)
    return folder


@settings(max_examples=100, deadline=None)
@given(at=st.integers(min_value=0), byte=st.integers(min_value=0, max_value=255))
def test_any_byte_that_is_changed_is_found(log_folder: Path, at: int, byte: int) -> None:
    whole = (log_folder / FILE_NAME).read_bytes()
    text = bytearray(whole)
    text[at % len(text)] = byte
    try:
        (log_folder / FILE_NAME).write_bytes(text)
        assert bool(findings(log_folder)) is (text != whole)
    finally:
        (log_folder / FILE_NAME).write_bytes(whole)


def test_who_has_not_the_key_cannot_write_an_entry_nor_a_head(tmp_path: Path) -> None:
    written(tmp_path)
    forged = AuditLog(tmp_path, OTHER_KEY, Clock())
    forged.append("mallory", "admin", "delete")
    forged.close()
    found = findings(tmp_path)
    assert "audit.jsonl:6 the hash of entry 6 does not hold" in found
    assert any("audit.head:1 cannot be trusted" in each for each in found)
    assert len(findings(tmp_path, OTHER_KEY)) >= 5


def test_a_head_that_is_missing_is_found(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / HEAD_FILE_NAME).unlink()
    assert findings(tmp_path) == ["audit.head:1 is missing"]


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_going_on_after_a_cut_does_not_hide_it(tmp_path: Path, cut: int) -> None:
    found = written(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"".join(found[:-cut]))
    log = AuditLog(tmp_path, KEY, Clock())
    log.append("olga", "operator", "view")
    log.close()
    assert any("did not end where its head said" in each for each in findings(tmp_path))


def test_a_crash_between_an_entry_and_its_head_is_none(tmp_path: Path) -> None:
    written(tmp_path, 4)
    head = (tmp_path / HEAD_FILE_NAME).read_bytes()
    log = AuditLog(tmp_path, KEY, Clock())
    log.append("olga", "operator", "view")
    log.close()
    (tmp_path / HEAD_FILE_NAME).write_bytes(head)
    log = AuditLog(tmp_path, KEY, Clock())
    assert log.append("olga", "operator", "view").seq == 6
    log.close()
    assert findings(tmp_path) == []


def test_half_a_line_of_a_crash_is_taken_away(tmp_path: Path) -> None:
    found = written(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"".join(found) + b'{"seq":6,"ti')
    log = AuditLog(tmp_path, KEY, Clock())
    assert log.append("olga", "operator", "view").seq == 6
    log.close()
    assert findings(tmp_path) == []


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


def test_what_the_disk_refuses_is_not_there(tmp_path: Path) -> None:
    written(tmp_path)
    log = AuditLog(tmp_path, KEY, Clock())
    with files_of_at_most((tmp_path / FILE_NAME).stat().st_size + 50), pytest.raises(OSError, match="large"):
        log.append("olga", "operator", "view")
    assert log.append("olga", "operator", "view").seq == 6
    log.close()
    assert findings(tmp_path) == []


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        AuditLog(tmp_path, KEY)
    (tmp_path / FILE_NAME).unlink()
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(OSError, match=r"ordinary|seek"):
        AuditLog(tmp_path, KEY)


def test_a_log_put_back_with_its_head_is_found_by_an_end_that_is_known(tmp_path: Path) -> None:
    found = written(tmp_path, 4)
    head = (tmp_path / HEAD_FILE_NAME).read_bytes()
    log = AuditLog(tmp_path, KEY, Clock())
    known = log.append("olga", "operator", "view").hash
    log.close()
    assert ended(tmp_path, known) == []
    (tmp_path / FILE_NAME).write_bytes(b"".join(found))
    (tmp_path / HEAD_FILE_NAME).write_bytes(head)
    assert findings(tmp_path) == [], "nothing here knows better"
    assert ended(tmp_path, known) == [f"has no entry with the hash {known}"]


def ended(folder: Path, end: str) -> list[str]:
    found = verified(folder / FILE_NAME, folder / HEAD_FILE_NAME, KEY, end)
    return [each.message for each in found if isinstance(each, Finding)]


def test_a_key_file_may_get_a_new_key(tmp_path: Path) -> None:
    written(tmp_path)
    log = AuditLog(tmp_path, [*OTHER_KEY, *KEY], Clock())
    log.append("olga", "operator", "view")
    log.close()
    assert findings(tmp_path, [*OTHER_KEY, *KEY]) == []


def test_the_command_says_what_was_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = read_keys(tmp_path / "tap.key", make=True).all_derived(AUDIT_KEY)
    log = AuditLog(tmp_path, key)
    entries = [log.append("olga", "operator", "view") for _ in range(3)]
    log.close()

    def run(*arguments: str) -> tuple[int | str | None, str]:
        with pytest.raises(SystemExit) as ended:
            cli.run(app, ["audit", "verify", "--data", str(tmp_path), *arguments])
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    assert run() == (0, f"3 entries, the last has the hash {entries[-1].hash}\n")
    assert run("--end", entries[1].hash)[0] == 0
    (tmp_path / FILE_NAME).write_bytes(b"".join(lines(tmp_path)[:-1]))
    code, said = run()
    assert (code, "audit.head:1:1: error: the log ends with entry 2, and its head says 3" in said) == (
        1,
        True,
    )
    assert json.loads(run("--format", "json")[1])[0]["line"] == 1
    (tmp_path / "tap.key").unlink()
    code, said = run()
    assert (code, "No such file" in said) == (2, True)


async def test_a_view_that_goes_on_is_told_once_a_minute(tmp_path: Path) -> None:
    log, clock = AuditLog(tmp_path, KEY), Clock()
    recorder = Recorder(log, clock)
    for _ in range(3):
        await recorder.seen(OLGA, "exchanges", "0123456789ab")
    await recorder.seen(OLGA, "watch", "0123456789ab")
    clock.advance(60)
    await recorder.seen(OLGA, "exchanges", "0123456789ab")
    told = [entry.detail["what"] for entry in await recorder.last(10)]
    log.close()
    assert told == ["exchanges", "watch", "exchanges"]


async def test_people_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, KEY)
    recorder = Recorder(log, Clock())
    here, there = (replace(OLGA, subject=subject) for subject in ("here", "there"))
    await recorder.seen(here, "exchanges", "0123456789ab")
    await recorder.seen(there, "exchanges", "0123456789ab")
    await recorder.denied(there, "delete", why="a role")
    told = [(entry.who, entry.detail["subject"]) for entry in await recorder.last(10)]
    log.close()
    assert told == [(OLGA.name, "here"), (OLGA.name, "there"), (OLGA.name, "there")]


async def test_a_flood_of_denials_is_told_in_sum(tmp_path: Path) -> None:
    log, clock = AuditLog(tmp_path, KEY), Clock()
    recorder = Recorder(log, clock)
    await asyncio.gather(*(recorder.denied(None, "view", why="x" * 1000) for _ in range(100)))
    clock.advance(1)
    await recorder.denied(OLGA, "delete", why="a role")
    found = await recorder.last(100)
    log.close()
    assert len(found) == 11
    assert found[-1].detail == {"why": "a role", "suppressed": 90}
    assert len(json.dumps(found[0].as_data())) < 700


def test_what_is_told_of_a_session_hides_the_values_of_headers_and_bodies() -> None:
    predicate = (
        'path=/a and (header[x-user]="planted" or not response.body*=planted) and request.json[a]=planted'
    )
    told = json.dumps(target(session("0123456789ab", predicate)))
    assert "planted" not in told
    assert 'header[\\"x-user\\"] = \\"[hidden]\\"' in told
    assert 'path = \\"/a\\"' in told
