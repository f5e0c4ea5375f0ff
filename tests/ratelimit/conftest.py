"""A real Valkey for the stores' tests."""

from collections.abc import Iterator

import pytest

from envoy_demo.processes import Processes
from envoy_demo.valkey import Valkey, start_valkey


@pytest.fixture(scope="package")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey that the tests share: each uses keys of its own, or empties it first."""
    with Processes(tmp_path_factory.mktemp("valkey")) as processes:
        yield start_valkey(processes)


@pytest.fixture
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey to stop, pause or kill."""
    with Processes(tmp_path_factory.mktemp("own")) as processes:
        yield start_valkey(processes)
