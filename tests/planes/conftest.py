"""One set of the three services for all control planes: what differs is how Envoy is told of them."""

import pytest

from envoy_demo import configs
from envoy_demo.processes import Processes
from envoy_demo.services import start_authz, start_ratelimit, start_tap
from envoy_demo.upstream import Upstream
from tests.e2e.conftest import of_module, processes, pytest_runtest_makereport, shared, upstream
from tests.e2e.edges import AT_ONCE
from tests.planes.driving import TAP_PATH, Services

__all__ = ["of_module", "processes", "pytest_runtest_makereport", "shared", "upstream"]


@pytest.fixture(scope="session")
def services(shared: Processes, upstream: Upstream) -> Services:
    """The services on TCP, with the shipped policies and limits, and a tap of every order that is traced."""
    examples = configs.folder() / "examples"
    started = Services(
        upstream,
        start_authz(shared, examples / "policies", AT_ONCE),
        start_ratelimit(shared, examples / "limits", options=AT_ONCE),
        start_tap(
            shared, shared.folder / "tap", ("--target-path", TAP_PATH, "--target-for", "3600", *AT_ONCE)
        ),
    )
    started.wait_ready()
    return started
