"""The command line, run in this process."""

from collections.abc import Callable

import pytest

from envoy_authz.cli import app
from envoy_sidecar import cli

Run = Callable[..., tuple[int, str, str]]
"""Runs the command with arguments; returns its exit code, what it printed, and what it said on stderr."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.run(app, arguments)
        shown = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, shown.out, shown.err

    return call
