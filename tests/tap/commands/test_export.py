"""`envoy-tap export`: to a file that is this user's alone, or to stdout."""

import json
from pathlib import Path

from tests.tap.commands.desk import Desk, Shell
from tests.tap.commands.test_sessions import started
from tests.tap.export.samples import ORDER


def test_a_file_is_made_for_this_user_and_never_written_over(
    shell: Shell, served: Desk, tmp_path: Path
) -> None:
    session_id = started(shell)
    served.capture(session_id, ORDER, ORDER)
    ran = shell("export", session_id, "--seq", "2", "-o", str(tmp_path))
    file = tmp_path / f"tap-{session_id}.har"
    assert ran.code == 0
    assert [each["_seq"] for each in json.loads(file.read_text("utf-8"))["log"]["entries"]] == [2]
    assert file.stat().st_mode & 0o777 == 0o600
    again = shell("export", session_id, "-o", str(file))
    assert (again.code, again.err) == (2, f"envoy-tap: {file} is there already; --force takes its place\n")
    assert shell("export", session_id, "-o", str(file), "--force").code == 0
    assert len(json.loads(file.read_text("utf-8"))["log"]["entries"]) == 2
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_an_export_that_fails_leaves_no_file(shell: Shell, tmp_path: Path) -> None:
    session_id = started(shell)
    assert shell("export", session_id, "--seq", "0", "-o", str(tmp_path / "x")).code == 1
    assert shell("export", session_id, "-o", str(tmp_path / "none" / "x")).code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_planted_link_is_not_followed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "x.part").symlink_to(tmp_path / "victim")
    assert shell("export", started(shell), "-o", str(tmp_path / "x")).code == 2
    assert not (tmp_path / "victim").exists()
