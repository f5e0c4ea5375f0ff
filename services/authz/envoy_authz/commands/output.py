"""How commands print: a table for people, or the same as JSON."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

Format = Literal["text", "json"]
FormatOption = Annotated[Format, Parameter(help="text for people, json for machines.")]
_WIDTH_OF_A_FILE = 200


def console() -> Console:
    """Return where results go; a file or pipe gets wide lines, for nobody would scroll them."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE, highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; cells are shown as they are, whatever brackets a value may hold."""
    made = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def print_json(data: object) -> None:
    """Print *data* as JSON."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def say(text: str) -> None:
    """Print a line for people on stderr."""
    sys.stderr.write(text + "\n")
