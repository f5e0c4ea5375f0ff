"""`envoy-tap export`: what was captured, in other tools' formats, to a file that only this user can read."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN
from envoy_tap.client import SessionClient
from envoy_tap.commands.asking import LOCAL, Service, ask, named
from envoy_tap.commands.output import UsageError, note
from envoy_tap.commands.sessions import FilterOption, SessionArgument, checked
from envoy_tap.export import FORMATS, file_name
from envoy_tap.shown import size

ExportFormat = Literal["har", "jsonl", "curl", "raw", "pcapng", "html"]
# The others hold nothing that a terminal obeys.
_NOT_FOR_TERMINALS = frozenset({"pcapng", "raw", "html"})


def export(
    session: SessionArgument,
    /,
    *,
    form: Annotated[
        ExportFormat,
        Parameter(
            name="--format",
            help="har for browsers, pcapng for Wireshark, curl for a shell, html for people, jsonl, raw HTTP/1.1.",
        ),
    ] = "har",
    seq: Annotated[str, Parameter(help="Numbers of exchanges: 1,4,7-9; all by default.")] = "",
    filter_: FilterOption = "",
    output: Annotated[
        Path | None,
        Parameter(name=("--output", "-o"), help="A file, or a folder for one; by default it goes to stdout."),
    ] = None,
    force: Annotated[bool, Parameter(negative=(), help="Take the place of a file that is there.")] = False,
    service: Service = LOCAL,
) -> int:
    """Export what a session captured. A file is made for this user only, and is whole or not there."""

    def do(client: SessionClient) -> int:
        session_id = named(client, session)
        query = {"format": form, "seq": seq, "filter": checked(filter_)}
        if output is None and form in _NOT_FOR_TERMINALS and sys.stdout.isatty():
            raise UsageError(f"{form} is not for a terminal; give --output FILE")
        path = output / file_name(session_id, FORMATS[form]) if output and output.is_dir() else output
        pieces = client.export(session_id, **{name: text for name, text in query.items() if text})
        with _opened(path, force=force) as file:
            written_bytes = sum(file.write(piece) for piece in pieces)
        if path is not None:
            note(f"{path}: {size(written_bytes)}")
        return EXIT_CLEAN

    return ask(service, do, predicate=filter_)


@contextmanager
def _opened(path: Path | None, *, force: bool) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not force and (path.exists() or path.is_symlink()):
        raise UsageError(f"{path} is there already; --force takes its place")
    new = path.with_name(f"{path.name}.part")
    try:
        number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(number, "wb") as file:
                yield file
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
    except OSError as error:
        raise UsageError(f"--output {new}: {error.strerror}") from None
