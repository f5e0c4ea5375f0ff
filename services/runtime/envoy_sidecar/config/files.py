"""Which files hold configuration, and what stands in them."""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from envoy_sidecar.config.findings import Finding, Position, Severity

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""In any case: `deny.YAML` is a policy too."""

MAX_FILE_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class FoundFiles:
    """The files found, in a stable order; `findings` say what could not be looked at.

    `touched_ns` is when the last of them, or of the folders on the way, was changed (Unix time by the file system).
    """

    paths: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    touched_ns: int = 0


@dataclass(slots=True)
class SourceFiles:
    """The text of each file, in a stable order; `findings` say what could not be read.

    `unread` are the files among that, `empty` the folders without any, and `passed_over` the files in folders that do
    not count for their suffix.
    """

    texts: dict[Path, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)


def find_files(paths: Iterable[Path]) -> FoundFiles:
    """Find the files that *paths* name: a file by itself, a folder with all below it, in the order of names.

    In a folder, only `SUFFIXES` count, and names that begin with a dot do not: editors leave them, and a mounted
    ConfigMap keeps its versions in `..data`. Symlinks are followed; what is reached twice counts once. Never raises.
    """
    found = FoundFiles()
    seen: dict[tuple[int, int], int] = {}
    for path in paths:
        found.paths.extend(_walk(path, seen, found.findings, [], []))
    found.touched_ns = max(seen.values(), default=0)
    return found


def read_files(paths: Iterable[Path], what: str, *, without_any: Severity) -> SourceFiles:
    """Read the *what* files (`policy`, `limit`) that *paths* name, as `find_files` finds them.

    A path that comes to no file is a finding of severity *without_any*, but a warning if it only repeats others. Never
    raises.
    """
    result = SourceFiles()
    seen: dict[tuple[int, int], int] = {}
    for path in paths:
        before = len(result.findings)
        seen_before = frozenset(seen)
        again: list[tuple[int, int]] = []
        files = list(_walk(path, seen, result.findings, result.passed_over, again))
        if not files and len(result.findings) == before:
            if seen_before.isdisjoint(again):
                result.empty.append(path)
                hint = f"{what} files end in {', '.join(sorted(SUFFIXES))} and do not begin with a dot"
                message = f"no {what} file is in this folder"
                result.findings.append(Finding(Position(str(path)), message, hint, severity=without_any))
            else:
                message, hint = "all that is here was read already", "name it once"
                result.findings.append(Finding(Position(str(path)), message, hint, severity="warning"))
        for file in files:
            _read(file, result)
            if file not in result.texts:
                result.unread.append(file)
    return result


def _walk(
    path: Path,
    seen: dict[tuple[int, int], int],
    findings: list[Finding],
    passed_over: list[Path],
    again: list[tuple[int, int]],
    *,
    named: bool = True,
) -> Iterator[Path]:
    """Yield *path* if it is a file, *named* by the operator or else by its suffix; of a folder, the files below.

    *seen* gets when each file and folder was changed, *passed_over* the files that have another suffix, and *again*
    what was *seen* before.
    """
    try:
        status = path.stat()
        entries = sorted(path.iterdir()) if stat.S_ISDIR(status.st_mode) else []
    except OSError as error:
        findings.append(_unreadable(path, error))
        return
    if not stat.S_ISDIR(status.st_mode) and not named and path.suffix.lower() not in SUFFIXES:
        if stat.S_ISREG(status.st_mode):
            passed_over.append(path)
        return
    # A link to a folder above it would be walked for ever.
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        again.append(identity)
        return
    seen[identity] = status.st_ctime_ns
    if stat.S_ISREG(status.st_mode):
        yield path
    elif not stat.S_ISDIR(status.st_mode):
        message = "is neither a file nor a folder"
        findings.append(Finding(Position(str(path)), message, "give a file or a folder of files"))
    for entry in entries:
        if not entry.name.startswith("."):
            yield from _walk(entry, seen, findings, passed_over, again, named=False)


def _read(file: Path, result: SourceFiles) -> None:
    try:
        size = file.stat().st_size
        content = file.read_bytes() if size <= MAX_FILE_BYTES else b""
    except OSError as error:
        result.findings.append(_unreadable(file, error))
        return
    if size > MAX_FILE_BYTES:
        message = f"is {size} bytes long, and at most {MAX_FILE_BYTES} are read"
        result.findings.append(Finding(Position(str(file)), message, "split it into several files"))
        return
    try:
        result.texts[file] = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode().split("\n")
        position = Position(str(file), len(before), len(before[-1]) + 1)
        result.findings.append(Finding(position, "this is not UTF-8", "save the file as UTF-8"))


def _unreadable(path: Path, error: OSError) -> Finding:
    hint = "give a file or a folder that exists" if isinstance(error, FileNotFoundError) else ""
    return Finding(Position(str(path)), f"can't be read: {error.strerror or error}", hint)
