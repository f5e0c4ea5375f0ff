"""The line that shows, while a session is followed, how much of its limits is used."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from envoy_tap.commands.output import note, write
from envoy_tap.shown import losses, session_line, size

_BAR_CELLS = 10
_HOT = 0.9
_REFRESHES_PER_S = 4


class Meter:
    """Shows a session's progress below its exchanges on a terminal; elsewhere each change of it is a line on stderr.

    Used as a context. *clock* gives unix seconds.
    """

    def __init__(self, session: dict[str, Any], clock: Callable[[], float] = time.time) -> None:
        self._session = session
        self._clock = clock
        self._to_terminal = sys.stdout.isatty()
        self._console = Console(stderr=not self._to_terminal, highlight=False)
        self._spinner = Spinner("dots")
        # What is written elsewhere must not be caught by it.
        self._live = Live(
            get_renderable=self._line,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def result(self, line: str) -> None:
        """Write a result, above the line."""
        if self._to_terminal:
            self._console.print(Text(line), soft_wrap=True)
        else:
            write(line)

    def say(self, text: str) -> None:
        """Say something beside the results."""
        if self._console.is_terminal:
            self._console.print(Text(text, "dim"), soft_wrap=True)
        else:
            note(text)

    def update(self, session: dict[str, Any]) -> None:
        """Show the session as it is now."""
        has_changed = (
            session["counts"] != self._session["counts"] or session["state"] != self._session["state"]
        )
        self._session = session
        if has_changed and not self._console.is_terminal:
            note(session_line(session))

    def _line(self) -> Table:
        session, counts, limits = self._session, self._session["counts"], self._session["limits"]
        left_s = max(0, int(session["expires_at_s"] - self._clock()))
        line = Table.grid(padding=(0, 1))
        captured, taken_bytes = counts.get("captured", 0), counts.get("bytes", 0)
        state = session["state"] if session["state"] != "active" else ""
        line.add_row(
            self._spinner,
            Text(state, "yellow"),
            *_gauge(
                limits["duration_s"] - left_s, limits["duration_s"], f"{left_s // 60}:{left_s % 60:02} left"
            ),
            *_gauge(captured, limits["exchanges"], f"{captured}/{limits['exchanges']}"),
            *_gauge(taken_bytes, limits["bytes"], f"{size(taken_bytes)}/{size(limits['bytes'])}"),
            Text(", ".join(losses(session)), "yellow"),
        )
        return line


def _gauge(used: float, most: float, said: str) -> tuple[ProgressBar, Text]:
    colour = "red" if used >= _HOT * most else "green"
    return ProgressBar(most, min(used, most), _BAR_CELLS, complete_style=colour), Text(said)
