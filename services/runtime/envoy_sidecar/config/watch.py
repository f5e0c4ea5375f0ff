"""Watched configuration: changes are told by content, so a ConfigMap's symlink swap is one and a `touch` is none."""

import hashlib
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from watchfiles import awatch

LOG = logging.getLogger(__name__)

DEBOUNCE_MS = 200
"""How long a burst of events may last until it is looked at as one change, in milliseconds."""

_POLL_MS = 5_000

CONFIGURATION_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


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


def configuration_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of *paths*: a file itself; of a folder, at any depth, the YAML and JSON files by name.

    Names that begin with a dot are passed over (`..data` of a ConfigMap, an editor's swap file); links are followed.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for child in sorted(path.iterdir()):
            if child.name.startswith("."):
                continue
            if child.is_dir() or child.suffix in CONFIGURATION_SUFFIXES:
                yield from configuration_files([child])


def fingerprint(paths: Iterable[Path]) -> dict[str, bytes]:
    """Return a hash of the content of each configuration file; an unreadable one has an empty hash."""
    hashes: dict[str, bytes] = {}
    for path in configuration_files(paths):
        try:
            hashes[str(path)] = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
        except OSError:
            hashes[str(path)] = b""
    return hashes


def compare(before: dict[str, bytes], after: dict[str, bytes]) -> Change:
    """Return what changed between two fingerprints."""
    return Change(
        added=tuple(sorted(after.keys() - before.keys())),
        modified=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


async def changes(paths: Sequence[Path], *, debounce_ms: int = DEBOUNCE_MS) -> AsyncIterator[Change]:
    """Yield each change of content below *paths*, for ever.

    A file is watched by its folder, so that replacing it by a rename is seen. Where the file system sends no events
    (some network mounts), a look every few seconds finds the change.
    """
    known = fingerprint(paths)
    folders = {path if path.is_dir() else path.parent for path in paths}
    events = awatch(
        *(folder for folder in folders if folder.is_dir()),
        debounce=debounce_ms,
        rust_timeout=_POLL_MS,
        yield_on_timeout=True,
        watch_filter=None,
    )
    async for _ in events:
        current = fingerprint(paths)
        change = compare(known, current)
        known = current
        if change:
            yield change
