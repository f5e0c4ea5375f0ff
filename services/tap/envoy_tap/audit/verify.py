"""Checks an audit log: every change of it since it was written is found, and said with its line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from envoy_sidecar.config.findings import Finding, Position
from envoy_tap.audit.entry import START, Entry
from envoy_tap.audit.head import Head

_MAX_LINE_BYTES = 1 << 20
_KNOWN = "compare the end with one that is known from elsewhere, by --end"


def verified(
    log: Path, head: Path, keys: Sequence[bytes], end: str | None = None
) -> Iterator[Finding | Head]:
    """Yield what is wrong with a log, in its order, and last where it ends; raises OSError if it can't be read.

    Found are: an entry that was changed, put in, left out or moved; an end that was cut off, as long as the file
    *head* is not older than the log, or the hash *end* is known; and gaps that the service itself noticed. A log and a
    head that were both put back to an earlier state look like that earlier state. The log may grow meanwhile.
    """
    told: Head | None = None
    try:
        told = Head.read(head, keys)
        problem = "" if told else "is missing"
    except ValueError as error:
        problem = f"cannot be trusted: {error}"
    before, seen = Head(), {Head().hash}
    with log.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), 1):
            position = Position(str(log), number)
            try:
                entry = Entry.read(line)
            except ValueError as error:
                yield Finding(position, f"cannot be read: {error}", "it was changed, or torn by a crash")
                continue
            yield from _problems(entry, before, position, keys)
            before = Head(entry.seq, entry.hash)
            seen &= {end, told and told.hash, START}
            seen.add(entry.hash)
    if problem and before.hash != START:
        yield Finding(Position(str(head)), problem, _KNOWN)
    if told is not None and told.hash not in seen:
        message = f"the log ends with entry {before.seq}, and its head says {told.seq} ({told.hash})"
        yield Finding(Position(str(head)), message, "the end was cut off or changed")
    if end is not None and end not in seen:
        yield Finding(
            Position(str(log)), f"has no entry with the hash {end}", "the end was cut off or changed"
        )
    yield before


def _problems(entry: Entry, before: Head, position: Position, keys: Sequence[bytes]) -> Iterator[Finding]:
    if entry.seq != before.seq + 1:
        message = f"entry {entry.seq} stands after entry {before.seq}"
        yield Finding(position, message, "some were put in or taken out")
    if not entry.holds(keys, before.hash):
        yield Finding(
            position,
            f"the hash of entry {entry.seq} does not hold",
            "it, or what stands before it, was changed, or it was written with another key",
        )
    elif entry.action == "gap":
        yield Finding(
            position,
            "the log did not end where its head said when the service started",
            f"expected {_shown(entry.detail.get('expected'))}, found {_shown(entry.detail.get('found'))}",
        )


def _shown(end: object) -> str:
    return f"entry {end['seq']}" if isinstance(end, dict) else "none"
