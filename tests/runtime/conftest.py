"""One echo server for each transport and kind of address."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.choose import TransportName
from tests.runtime.serving import Running, running


@pytest.fixture(params=["native", "grpcio"])
def name(request: pytest.FixtureRequest) -> TransportName:
    chosen: TransportName = request.param
    return chosen


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    return Address("127.0.0.1", 0) if request.param == "tcp" else Address(path=str(tmp_path / "echo.sock"))


@pytest.fixture
async def server(name: TransportName, address: Address) -> AsyncIterator[Running]:
    async with running(name, address) as started:
        yield started
