"""What strangers wrote is shown on a terminal, and does nothing to it."""

import pytest
from rich.text import Text

from envoy_sidecar.terminal import console, table

HOSTILE = "a\x1b]0;owned\x07b\x9b31m\rc\nallowed [red]x[/red] \ud800"
SHOWN = "a\\x1b]0;owned\\x07b\\x9b31m\\rc\\nallowed [red]x[/red] \\ud800"


def test_a_line_is_printed_with_its_control_characters_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(Text(HOSTILE, "bold"), soft_wrap=True)
    # Some are gone before: those that `rich` itself takes out of a text.
    assert capsys.readouterr().out == SHOWN.replace("\\x07", "").replace("\\r", "") + "\n"


def test_so_are_the_cells_and_the_title_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(table("\x1b[2J", ("one",), [(HOSTILE,), (None,), (1,)]))
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert shown[0] == "\\x1b[2J"
    assert SHOWN in shown
