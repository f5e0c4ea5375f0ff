"""Two authz replicas behind one Envoy are replaced, one after the other, under load: not one request fails.

All three services together: test_rolling_upgrade.py.
"""

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from envoy_demo import configs
from envoy_demo.client import get
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AUTHZ_REPLICAS, SERVED, edge
from tests.e2e.load import Load

# Without retries, more time than a busy machine's health checks need.
DRAIN = ("--drain-delay", "3")
POLICIES = configs.folder() / "examples" / "policies"
HEALTHY = "cluster.envoy_authz.membership_healthy"


def until_healthy(envoy: Envoy, replicas: int) -> None:
    envoy.process.until(
        lambda: True if envoy.stat(HEALTHY) == replicas else None, f"{replicas} healthy replicas"
    )


def without_retries(config: Config) -> None:
    """Leave the drain alone with its task: a request that meets a replica which is gone fails."""
    del configs.http_filter(config, configs.EXT_AUTHZ)["grpc_service"]["retry_policy"]


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


def test_replicas_are_replaced_under_load_without_one_failed_request_and_without_a_retry(
    processes: Processes, upstream: Upstream
) -> None:
    replicas = start_replicas(processes, DRAIN)
    envoy = edge(processes, upstream, AUTHZ_REPLICAS, replicas, configs.be_patient, without_retries)
    until_healthy(envoy, 2)
    with Load(envoy.port, "/public/hello") as allowed, Load(envoy.port, "/admin/users") as denied:
        for replica in replicas:
            replace(envoy, processes, replica, DRAIN)
    assert allowed.answers.keys() == {200}, allowed.answers
    assert denied.answers.keys() == {403}, denied.answers
    assert envoy.stat("http.ingress.ext_authz.error") == 0


def test_slow_replicas_are_asked_all_the_same_one_that_crashes_costs_no_request_and_with_all_gone_nothing_passes(
    processes: Processes, upstream: Upstream
) -> None:
    replicas = start_replicas(processes)
    envoy = edge(processes, upstream, AUTHZ_REPLICAS, replicas, configs.be_patient)
    until_healthy(envoy, 2)

    # As on a machine that starves the health checks.
    for replica in replicas:
        replica.process.signal(signal.SIGSTOP)
    until_healthy(envoy, 0)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(get, envoy.port, "/public/hello")
        envoy.until_stat("cluster.envoy_authz.upstream_rq_active", at_least=1)
        for replica in replicas:
            replica.process.signal(signal.SIGCONT)
        assert asked.result().status == 200
    until_healthy(envoy, 2)

    first, second = replicas
    with Load(envoy.port, "/public/hello") as allowed, Load(envoy.port, "/admin/users") as denied:
        first.process.kill()
        until_healthy(envoy, 1)
    assert allowed.answers.keys() == {200}, allowed.answers
    assert denied.answers.keys() == {403}, denied.answers
    assert envoy.stat("cluster.envoy_authz.upstream_rq_retry_success") >= 1

    served = envoy.stat(SERVED)
    second.process.kill()
    assert get(envoy.port, "/public/hello").status == 503
    until_healthy(envoy, 0)
    assert get(envoy.port, "/public/hello").status == 503
    assert envoy.stat(SERVED) == served
