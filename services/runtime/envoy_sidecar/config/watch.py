"""Watched configuration: changes are told by content, so a ConfigMap's symlink swap is one and a `touch` is none."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchfiles import awatch

from envoy_sidecar.background import in_background
from envoy_sidecar.config.files import MAX_FILE_BYTES, find_files

LOG = logging.getLogger(__name__)

DEBOUNCE_MS = 200
"""How long a burst of events may last until it is looked at as one change, in milliseconds."""

_FILE_CLOCK_NS = 50_000_000
"""How far the kernel's clock for files may be behind the one of `time.time_ns`."""

_TICK_MS = 500
_TICKS_PER_LOOK = 10

Seen = tuple[tuple[int, ...], bytes]


@dataclass(frozen=True, slots=True)
class Change:
    """What differs from the last look: file names as they were given or found."""

    added: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)

    def __str__(self) -> str:
        parts = (("added", self.added), ("modified", self.modified), ("removed", self.removed))
        return "; ".join(f"{what} {', '.join(names)}" for what, names in parts if names) or "nothing"


def fingerprint(paths: Iterable[Path], seen: dict[str, Seen] | None = None) -> dict[str, bytes]:
    """Return a hash of the content of each configuration file (see `find_files`); an unreadable one has an empty hash.

    With *seen*, which it keeps up to date, only those files are read whose status has changed since.
    """
    seen = {} if seen is None else seen
    found = find_files(paths)
    hashes = {finding.position.file: b"" for finding in found.findings}
    for path in found.paths:
        name = str(path)
        try:
            status = path.stat()
            signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if name not in seen or seen[name][0] != signature:
                # What is too large to be configuration is told apart without being read.
                content = path.read_bytes() if status.st_size <= MAX_FILE_BYTES else repr(signature).encode()
                seen[name] = signature, hashlib.blake2b(content, digest_size=16).digest()
        except OSError:
            seen[name] = (), b""
        hashes[name] = seen[name][1]
    for name in seen.keys() - hashes.keys():
        del seen[name]
    return hashes


def touched_since(paths: Sequence[Path], moment_ns: int) -> bool:
    """Return whether any configuration file, or a folder or link on the way to it, was changed since (Unix time)."""
    found = find_files(paths)
    latest_ns = found.touched_ns
    for path in (*paths, *(path.parent for path in paths), *found.paths):
        with suppress(OSError):
            latest_ns = max(latest_ns, path.lstat().st_ctime_ns)
    return latest_ns > moment_ns - _FILE_CLOCK_NS


def compare(before: dict[str, bytes], after: dict[str, bytes]) -> Change:
    """Return what changed between two fingerprints."""
    return Change(
        added=tuple(sorted(after.keys() - before.keys())),
        modified=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


async def changes(
    paths: Sequence[Path], *, known: dict[str, bytes] | None = None, debounce_ms: int = DEBOUNCE_MS
) -> AsyncGenerator[Change, None]:
    """Yield each change of content below *paths*, for ever; the first one against *known* (a `fingerprint`) if given.

    A file is watched by its folder, so that replacing it by a rename is seen. Where the file system sends no events
    (some network mounts), a look every few seconds finds the change. A look that fails is logged and not the last.
    """
    seen: dict[str, Seen] = {}
    before = known
    if before is None:
        before = await in_background(lambda: fingerprint(paths, seen), "configuration-look")
    async for _ in _looks(paths, debounce_ms):
        try:
            current = await in_background(lambda: fingerprint(paths, seen), "configuration-look")
        except Exception:
            LOG.exception("a look at the configuration files failed; the next one follows")
            continue
        change = compare(before, current)
        before = current
        if change:
            yield change


async def _looks(paths: Sequence[Path], debounce_ms: int) -> AsyncIterator[None]:
    """Yield whenever it is time to look: after a burst of events, soon after the start, and every few seconds."""
    trouble = ""
    while True:
        ticks = 0
        try:
            folders = {path if path.is_dir() else path.parent for path in paths}
            events = awatch(
                *(folder for folder in folders if folder.is_dir()),
                debounce=debounce_ms,
                rust_timeout=_TICK_MS,
                yield_on_timeout=True,
                watch_filter=None,
            )
            async for names in events:
                # The first tick finds what changed before the events began to come.
                if names or ticks % _TICKS_PER_LOOK == 0:
                    yield
                ticks += 0 if names else 1
        except Exception as error:  # noqa: BLE001 -- such as a group of errors for a name that is not UTF-8
            causes = ", ".join(map(str, error.exceptions if isinstance(error, ExceptionGroup) else (error,)))
            if causes != trouble:
                trouble = causes
                LOG.warning("no file events, looking every few seconds instead: %s", causes)
        await asyncio.sleep(_TICK_MS * _TICKS_PER_LOOK / 1000)
        yield
