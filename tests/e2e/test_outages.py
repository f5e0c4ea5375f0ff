"""What Envoy does while a service is down or does not answer, on the shipped timeouts: asserted, not hoped.

Down is killed (SIGKILL: the connection breaks), slow is stopped (SIGSTOP: it stays open and nothing comes).
"""

import signal
from collections.abc import Callable

import pytest

from envoy_demo import captures, configs
from envoy_demo.client import Request, Response, get, send
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy
from envoy_demo.processes import Processes
from envoy_demo.scenario import REASON_HEADER
from envoy_demo.services import Service, start_authz, start_ratelimit, start_tap
from envoy_demo.stack import TAP_SLOT, tap_reloads
from envoy_demo.upstream import Upstream
from envoy_demo.valkey import start_valkey
from tests.e2e.edges import (
    AT_ONCE,
    AUTHZ,
    RATELIMIT,
    SERVED,
    TAP,
    TIMEOUTS,
    authz_lets_pass_without_answer,
    edge,
    ratelimit_refuses_without_answer,
)

Outage = Callable[[Service], None]
POLICIES = configs.folder() / "examples" / "policies"
LIMITS = "domain: edge\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 2}}]\n"


def down(service: Service) -> None:
    service.process.kill()


def slow(service: Service) -> None:
    service.process.signal(signal.SIGSTOP)


both = pytest.mark.parametrize("outage", [down, slow])


def as_shipped(_config: Config) -> None:
    pass


def assert_timed_out_if_slow(envoy: Envoy, cluster: str, outage: Outage) -> None:
    timeouts = envoy.stat(TIMEOUTS.format(cluster))
    assert timeouts >= 1 if outage is slow else timeouts == 0


def until_answer(envoy: Envoy, request: Request, wanted: Callable[[Response], bool]) -> Response:
    """Send *request* again and again until an answer is as wanted, and return that."""

    def probe() -> Response | None:
        answer = send(envoy.port, request)
        return answer if wanted(answer) else None

    return envoy.process.until(probe, "wanted answer")


@pytest.fixture
def authz(processes: Processes) -> Service:
    started = start_authz(processes, POLICIES, AT_ONCE)
    started.wait_ready()
    return started


@pytest.fixture
def ratelimit(processes: Processes) -> Service:
    file = processes.folder / "limits.yaml"
    file.write_text(LIMITS)
    started = start_ratelimit(processes, file, options=AT_ONCE)
    started.wait_ready()
    return started


@both
def test_without_authz_nothing_passes_as_shipped(
    processes: Processes, upstream: Upstream, authz: Service, outage: Outage
) -> None:
    envoy = edge(processes, upstream, AUTHZ, [authz], as_shipped)
    outage(authz)
    answers = [get(envoy.port, path) for path in ("/public/hello", "/admin/users")]
    assert [answer.status for answer in answers] == [503, 503]
    assert not any(REASON_HEADER in answer.headers for answer in answers)
    assert envoy.stat(SERVED) == 0
    assert envoy.stat("http.ingress.ext_authz.error") == 2
    assert_timed_out_if_slow(envoy, "envoy_authz", outage)


@both
def test_without_authz_everything_passes_when_it_fails_open(
    processes: Processes, upstream: Upstream, authz: Service, outage: Outage
) -> None:
    envoy = edge(processes, upstream, AUTHZ, [authz], authz_lets_pass_without_answer)
    outage(authz)
    assert [get(envoy.port, path).status for path in ("/public/hello", "/admin/users")] == [200, 200]
    assert envoy.stat("http.ingress.ext_authz.failure_mode_allowed") == 2
    assert_timed_out_if_slow(envoy, "envoy_authz", outage)


def test_authz_decides_again_when_it_goes_on(
    processes: Processes, upstream: Upstream, authz: Service
) -> None:
    envoy = edge(processes, upstream, AUTHZ, [authz], as_shipped)
    slow(authz)
    assert get(envoy.port, "/public/hello").status == 503
    authz.process.signal(signal.SIGCONT)
    until_answer(envoy, Request("GET", "/public/hello"), lambda answer: answer.status == 200)
    until_answer(envoy, Request("GET", "/admin/users"), lambda answer: REASON_HEADER in answer.headers)


def test_authz_decides_again_when_another_takes_its_place(
    processes: Processes, upstream: Upstream, authz: Service
) -> None:
    envoy = edge(processes, upstream, AUTHZ, [authz], as_shipped)
    down(authz)
    assert get(envoy.port, "/public/hello").status == 503
    start_authz(processes, POLICIES, AT_ONCE, port=authz.port).wait_ready()
    until_answer(envoy, Request("GET", "/public/hello"), lambda answer: answer.status == 200)
    until_answer(envoy, Request("GET", "/admin/users"), lambda answer: REASON_HEADER in answer.headers)


@both
def test_without_ratelimit_everything_passes_unlimited_as_shipped(
    processes: Processes, upstream: Upstream, ratelimit: Service, outage: Outage
) -> None:
    envoy = edge(processes, upstream, RATELIMIT, [ratelimit], as_shipped)
    outage(ratelimit)
    answers = [get(envoy.port, "/", x_user="alice") for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert not any("x-ratelimit-limit" in answer.headers for answer in answers)
    assert envoy.stat("cluster.upstream.ratelimit.failure_mode_allowed") == 4
    assert_timed_out_if_slow(envoy, "envoy_ratelimit", outage)


@both
def test_without_ratelimit_nothing_passes_when_it_fails_closed(
    processes: Processes, upstream: Upstream, ratelimit: Service, outage: Outage
) -> None:
    envoy = edge(processes, upstream, RATELIMIT, [ratelimit], ratelimit_refuses_without_answer)
    outage(ratelimit)
    assert [get(envoy.port, "/", x_user="alice").status for _ in range(2)] == [500, 500]
    # Not even what has no limit: Envoy asks before it could know that.
    assert get(envoy.port, "/").status == 500
    assert envoy.stat(SERVED) == 0
    assert envoy.stat("cluster.upstream.ratelimit.error") == 3
    assert_timed_out_if_slow(envoy, "envoy_ratelimit", outage)


def test_ratelimit_counts_again_when_it_goes_on(
    processes: Processes, upstream: Upstream, ratelimit: Service
) -> None:
    envoy = edge(processes, upstream, RATELIMIT, [ratelimit], as_shipped)
    slow(ratelimit)
    assert get(envoy.port, "/", x_user="alice").status == 200
    ratelimit.process.signal(signal.SIGCONT)
    until_answer(envoy, Request("GET", "/", {"x-user": "alice"}), lambda answer: answer.status == 429)


@both
@pytest.mark.parametrize(("policy", "status"), [("allow", 200), ("deny", 429)])
def test_without_valkey_ratelimit_does_what_its_own_option_says(
    processes: Processes, upstream: Upstream, outage: Outage, policy: str, status: int
) -> None:
    valkey = start_valkey(processes)
    file = processes.folder / "limits.yaml"
    file.write_text(LIMITS)
    ratelimit = start_ratelimit(processes, file, valkey.url, (*AT_ONCE, "--on-store-failure", policy))
    ratelimit.wait_ready()
    # Patient: on a busy machine Envoy's 20 ms could end before the service's answer, which is what is asked about.
    envoy = edge(processes, upstream, RATELIMIT, [ratelimit], configs.be_patient)
    outage(Service(valkey.process, valkey.port, 0))
    answers = [get(envoy.port, "/", x_user="alice") for _ in range(4)]
    assert [answer.status for answer in answers] == [status] * 4
    assert envoy.stat("cluster.upstream.ratelimit.error") == 0
    assert get(envoy.port, "/").status == 200, "what has no limit needs no store"
    assert get(ratelimit.admin_port, "/readyz").status == 200
    assert "ratelimit_store_failures" in get(ratelimit.admin_port, "/metrics").text


def test_ratelimit_counts_again_when_valkey_goes_on(processes: Processes, upstream: Upstream) -> None:
    valkey = start_valkey(processes)
    file = processes.folder / "limits.yaml"
    file.write_text(LIMITS)
    ratelimit = start_ratelimit(processes, file, valkey.url, (*AT_ONCE, "--on-store-failure", "deny"))
    ratelimit.wait_ready()
    envoy = edge(processes, upstream, RATELIMIT, [ratelimit], configs.be_patient)
    request = Request("GET", "/", {"x-user": "alice"})
    until_answer(envoy, request, lambda answer: answer.status == 200)
    valkey.process.signal(signal.SIGSTOP)
    assert send(envoy.port, request).status == 429
    valkey.process.signal(signal.SIGCONT)
    ratelimit.process.until_logged("the bucket store failed")
    back = until_answer(envoy, request, lambda answer: "x-ratelimit-limit" in answer.headers)
    assert back.status in {200, 429}
    ratelimit.process.until_logged("the bucket store is back")


def start_tapped(processes: Processes, upstream: Upstream) -> tuple[Envoy, Service]:
    data = processes.folder / "data"
    tap = start_tap(processes, data, ("--target-path", "/orders", *AT_ONCE))
    tap.wait_ready()
    envoy = edge(processes, upstream, TAP, [tap], as_shipped)
    envoy.until_stat(tap_reloads(TAP_SLOT), at_least=1)
    return envoy, tap


@both
def test_without_tap_traffic_is_unharmed(processes: Processes, upstream: Upstream, outage: Outage) -> None:
    envoy, tap = start_tapped(processes, upstream)
    outage(tap)
    body = b"x" * 200_000
    for path in ("/orders/1", "/other", "/orders/2"):
        answer = send(envoy.port, Request("POST", path, body=body))
        assert (answer.status, answer.json()["body"]) == (200, body.decode())


def test_envoy_starts_and_serves_without_tap_and_is_tapped_once_it_is_there(
    processes: Processes, upstream: Upstream
) -> None:
    first = start_tap(processes, processes.folder / "first", AT_ONCE)
    down(first)
    envoy = edge(processes, upstream, TAP, [first], as_shipped)
    assert get(envoy.port, "/orders/1").status == 200
    data = processes.folder / "data"
    tap = start_tap(processes, data, ("--target-path", "/orders", *AT_ONCE), port=first.port)
    tap.wait_ready()
    envoy.until_stat(tap_reloads(TAP_SLOT), at_least=1, timeout_seconds=60)
    request_id = get(envoy.port, "/orders/2").headers["x-request-id"]
    tap.process.until(lambda: captures.find(tap.admin_port, request_id), f"exchange {request_id}")
