"""Everything in the how-to was typed: its files are written, its commands run in their order, and print what it says."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authz.commands.conftest import Run

DOCS = Path(__file__).parents[3] / "docs"
HOW_TO = DOCS / "how-to" / "author-a-policy.md"
CI = DOCS / "how-to" / "test-policies-in-ci.md"
TOOLS = DOCS / "authz-tools.md"
FOLDER = "/tmp/authz"  # noqa: S108 - as it is written there
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# They need a running service, which the tests of `check` and `replay` start.
_ELSEWHERE = ("serve", "check", "replay")


def blocks(page: Path, folder: Path) -> Iterator[tuple[str, str]]:
    text = page.read_text("utf-8").replace(FOLDER, str(folder))
    yield from ((match[1], match[2]) for match in _BLOCK.finditer(text))


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command with the lines that it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *printed = part.rstrip("\n").split("\n")
        yield command, printed


def write(folder: Path, block: str) -> None:
    named = re.match(r"# (\S+\.yaml)\n", block)
    if named is not None:
        (folder / named[1]).write_text(block, "utf-8")


def words_of(command: str, folder: Path) -> tuple[list[str], Path | None]:
    """Return the arguments of a command, `$(cat FILE)` filled in, and where its output goes."""
    command = re.sub(r"\$\(cat (\w+)\)", lambda match: (folder / match[1]).read_text().strip(), command)
    line, _, target = command.partition(" > ")
    return shlex.split(line)[1:], folder / target if target else None


def test_the_how_to_does_as_it_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "authz"
    typed = 0
    for language, block in blocks(HOW_TO, folder):
        if language == "yaml":
            write(folder, block)
        if language != "console":
            continue
        for command, printed in commands(block):
            if not command.startswith("envoy-authz"):
                subprocess.run(command, shell=True, check=True, cwd=tmp_path if not typed else folder)  # noqa: S602 - the page's own
                monkeypatch.chdir(folder)
                typed += 1
                continue
            words, target = words_of(command, folder)
            if words[0] in _ELSEWHERE:
                continue
            _, shown, said = run(*words)
            if target is not None:
                target.write_text(shown, "utf-8")
                shown = ""
            lines = iter([line.rstrip() for line in (shown + said).splitlines()])
            for expected in printed:
                assert expected == "…" or expected in lines, (
                    f"{command}\nprints no {expected!r}\n{shown}{said}"
                )
            typed += 1
    assert typed >= 12


def test_the_cases_of_the_page_pass(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "authz"
    for name in ("policies", "tests"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    run("token", "--key", "dev.key", "--jwks", "jwks.json")
    for page in (HOW_TO, CI):
        for language, block in blocks(page, folder):
            if language == "yaml":
                write(folder, block)
    script = next(block for language, block in blocks(CI, folder) if language == "sh")
    (folder.parent / "main").mkdir()
    (folder / "policies" / "orders.yaml").write_text(
        (folder / "policies" / "orders.yaml").read_text("utf-8").replace("/orders*", "/orders/*"), "utf-8"
    )
    subprocess.run(["cp", "-r", "policies", "../main/policies"], check=True)
    ran = [run(*shlex.split(line)[1:]) for line in script.splitlines() if line.startswith("envoy-authz")]
    assert [code for code, _, _ in ran] == [0, 0, 0], ran
    assert (folder / "results.xml").is_file()


def test_every_command_is_on_the_page_and_in_the_table(run: Run) -> None:
    _, shown, _ = run("--help")
    text, table = TOOLS.read_text("utf-8"), (DOCS / "authz.md").read_text("utf-8")
    found = re.findall(r"^│ (\w+) ", shown, re.MULTILINE)
    assert {"lint", "test", "explain", "check", "diff", "replay", "token", "serve", "health"} == set(found)
    for command in set(found) - {"serve", "health"}:
        assert f"## `{command}`" in text
        assert f"`envoy-authz {command} " in table
        code, shown, _ = run(command, "--help")
        assert (code, "Exit code" in shown or command == "token") == (0, True)
