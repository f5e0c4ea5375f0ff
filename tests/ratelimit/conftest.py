"""Real servers for the stores' tests."""

from collections.abc import Iterator

import pytest

from envoy_demo.processes import Processes
from envoy_demo.valkey import Valkey, start_valkey
from tests.ratelimit.servers import (
    Cluster,
    Server,
    Watched,
    redis_binary,
    start_cluster,
    start_sentinels,
    start_server,
)


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


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey that the tests share."""
    with Processes(tmp_path_factory.mktemp("server")) as processes:
        yield start_server(processes)


@pytest.fixture(scope="package")
def debian_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Debian's Redis 7."""
    with Processes(tmp_path_factory.mktemp("redis")) as processes:
        yield start_server(processes, binary=redis_binary())


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that share the slots."""
    with Processes(tmp_path_factory.mktemp("cluster")) as processes:
        yield start_cluster(processes)


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary with a replica under three Sentinels, not to be failed over."""
    with Processes(tmp_path_factory.mktemp("watched")) as processes:
        yield start_sentinels(processes, down_after_ms=60_000)
