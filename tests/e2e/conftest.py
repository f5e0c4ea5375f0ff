"""Real programs for the tests: started on free ports, their logs shown when a test fails."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envoy_demo.processes import Processes
from envoy_demo.upstream import Upstream, start_upstream
from envoy_demo.valkey import Valkey, start_valkey

_RUNNING: pytest.StashKey[list[Processes]] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of every running program's log to the report of a test that failed."""
    report = yield
    if report.failed and call.when in {"setup", "call"}:
        for processes in item.config.stash.get(_RUNNING, []):
            report.sections.extend((f"log of {each.name}", each.log_tail()) for each in processes.all)
    return report


@contextmanager
def _logged(config: pytest.Config, folder: Path) -> Iterator[Processes]:
    running = config.stash.setdefault(_RUNNING, [])
    with Processes(folder) as processes:
        running.append(processes)
        try:
            yield processes
        finally:
            running.remove(processes)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Processes]:
    """Programs that live as long as the session."""
    with _logged(pytestconfig, tmp_path_factory.mktemp("session")) as processes:
        yield processes


@pytest.fixture(scope="module")
def of_module(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Processes]:
    """Programs that live as long as a module's tests."""
    with _logged(pytestconfig, tmp_path_factory.mktemp("module")) as processes:
        yield processes


@pytest.fixture
def processes(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Processes]:
    """Programs that live as long as one test."""
    with _logged(pytestconfig, tmp_path) as started:
        yield started


@pytest.fixture(scope="session")
def upstream(shared: Processes) -> Upstream:
    """The one upstream behind every Envoy."""
    started = start_upstream(shared)
    started.wait_ready()
    return started


@pytest.fixture(scope="session")
def valkey(shared: Processes) -> Valkey:
    """A real Valkey, shared: a test that needs empty buckets uses a domain or user of its own."""
    return start_valkey(shared)
