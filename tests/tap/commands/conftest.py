"""One service for all commands."""

from collections.abc import Iterator

import pytest

from tests.tap.commands.desk import Desk, Shell, Target, desk, target


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with desk(tmp_path_factory.mktemp("tap") / "data") as found:
        yield found


@pytest.fixture
def shell(served: Desk, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    yield Shell(served.admin, capsys)
    served.stop_all()


@pytest.fixture
def upstream() -> Iterator[Target]:
    with target() as found:
        yield found
