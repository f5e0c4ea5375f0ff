"""What commands print for people: texts of strangers are shown, and never drive the terminal that shows them."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleRenderable, RenderHook
from rich.table import Table
from rich.text import Text

from envoy_sidecar.telemetry.logs import harmless

_WIDTH_OF_A_FILE = 200


class _Harmless(RenderHook):
    """Escapes control characters in all lines of text that are printed."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what is printed in place of *renderables*."""
        for one in renderables:
            if isinstance(one, Text):
                # `print` ends a text by a line break of its own, which is not in it.
                one.plain = harmless(one.plain)
        return renderables


def console() -> Console:
    """Return where results go; a file or pipe gets wide lines, for nobody would scroll them.

    Lines are printed one by one, as `rich.text.Text`: a line break in one is escaped like all control characters.
    """
    made = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE, highlight=False)
    made.push_render_hook(_Harmless())
    return made


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; cells are shown as they are, whatever brackets a value may hold, their control characters escaped."""
    made = Table(title=harmless(title) or None, title_justify="left", show_edge=False, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else harmless(str(cell))) for cell in row))
    return made
