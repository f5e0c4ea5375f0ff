"""Two authz replicas behind one Envoy are replaced, one after the other, under load: not one request fails."""

import signal
from collections.abc import Callable, Sequence

import pytest

from envoy_demo import configs
from envoy_demo.client import get
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AUTHZ_REPLICAS, SERVED, edge
from tests.e2e.load import Load

POLICIES = configs.folder() / "examples" / "policies"
HEALTHY = "cluster.envoy_authz.membership_healthy"


def until_healthy(envoy: Envoy, replicas: int) -> None:
    envoy.process.until(
        lambda: True if envoy.stat(HEALTHY) == replicas else None, f"{replicas} healthy replicas"
    )


def without_retries(config: Config) -> None:
    """Leave the drain alone with its task: a request that meets a replica which is gone fails."""
    del configs.http_filter(config, configs.EXT_AUTHZ)["grpc_service"]["retry_policy"]


def as_shipped(_config: Config) -> None:
    pass


def start_replicas(processes: Processes, options: Sequence[str] = ()) -> list[Service]:
    started = [start_authz(processes, POLICIES, options) for _ in range(2)]
    for each in started:
        each.wait_ready()
    return started


def replace(envoy: Envoy, processes: Processes, replica: Service, options: Sequence[str]) -> None:
    """End *replica* by SIGTERM, as a deployment does, and start another in its place."""
    replica.process.signal(signal.SIGTERM)
    until_healthy(envoy, 1)
    assert replica.process.wait(30) == 0
    start_authz(processes, POLICIES, options, port=replica.port).wait_ready()
    until_healthy(envoy, 2)


@pytest.mark.parametrize(
    ("change", "options"),
    # Without retries, more time than a busy machine's health checks need.
    [(as_shipped, ()), (without_retries, ("--drain-delay", "3"))],
    ids=["as shipped", "without retries"],
)
def test_replicas_are_replaced_under_load_without_one_failed_request(
    processes: Processes, upstream: Upstream, change: Callable[[Config], None], options: Sequence[str]
) -> None:
    replicas = start_replicas(processes, options)
    envoy = edge(processes, upstream, AUTHZ_REPLICAS, replicas, configs.be_patient, change)
    until_healthy(envoy, 2)
    with Load(envoy.port, "/public/hello") as allowed, Load(envoy.port, "/admin/users") as denied:
        for replica in replicas:
            replace(envoy, processes, replica, options)
    assert allowed.answers.keys() == {200}, allowed.answers
    assert denied.answers.keys() == {403}, denied.answers
    assert envoy.stat("http.ingress.ext_authz.error") == 0


def test_a_replica_that_crashes_under_load_costs_no_request(processes: Processes, upstream: Upstream) -> None:
    replicas = start_replicas(processes)
    envoy = edge(processes, upstream, AUTHZ_REPLICAS, replicas, configs.be_patient)
    until_healthy(envoy, 2)
    with Load(envoy.port, "/public/hello") as allowed, Load(envoy.port, "/admin/users") as denied:
        replicas[0].process.kill()
        until_healthy(envoy, 1)
        start_authz(processes, POLICIES, port=replicas[0].port).wait_ready()
        until_healthy(envoy, 2)
    assert allowed.answers.keys() == {200}, allowed.answers
    assert denied.answers.keys() == {403}, denied.answers
    assert envoy.stat("cluster.envoy_authz.upstream_rq_retry_success") >= 1


def test_with_every_replica_gone_nothing_passes(processes: Processes, upstream: Upstream) -> None:
    replicas = start_replicas(processes)
    envoy = edge(processes, upstream, AUTHZ_REPLICAS, replicas)
    until_healthy(envoy, 2)
    for replica in replicas:
        replica.process.kill()
    assert get(envoy.port, "/public/hello").status == 503
    until_healthy(envoy, 0)
    assert get(envoy.port, "/public/hello").status == 503
    assert envoy.stat(SERVED) == 0
