"""Files are edited while Envoy asks: a good change counts, a broken one does not and is told, and nothing fails."""

import signal
from pathlib import Path

import pytest

from envoy_demo import configs
from envoy_demo.client import get
from envoy_demo.envoy import Envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz, start_ratelimit
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE, AUTHZ, RATELIMIT, edge
from tests.e2e.load import Load

BROKEN = "kind: [\n"


def policy(path: str) -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: open, namespace: demo }}
spec: {{ rules: [{{ to: [{{ operation: {{ paths: ["{path}"] }} }}] }}] }}
"""


def limit(requests: int) -> str:
    return f"""
domain: edge
descriptors: [{{ key: user, rate_limit: {{ unit: day, requests_per_unit: {requests} }} }}]
"""


def write(file: Path, text: str) -> None:
    """Replace *file* in one step, as editors and Kubernetes do."""
    new = file.with_name(".new")
    new.write_text(text)
    new.rename(file)


def until_refused(service: Service, file: Path) -> str:
    """Return what /readyz says once it says that *file* is refused."""

    def said() -> str | None:
        text = get(service.admin_port, "/readyz").text
        return text if str(file) in text else None

    return service.process.until(said, "a finding in /readyz")


def until_accepted(service: Service) -> None:
    service.process.until(
        lambda: True if get(service.admin_port, "/readyz").text == "ready\n" else None, "a clean /readyz"
    )


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder / "open.yaml", policy("/open/*"))
    return folder


@pytest.fixture
def authz(processes: Processes, policies: Path) -> Service:
    started = start_authz(processes, policies, AT_ONCE)
    started.wait_ready()
    return started


@pytest.fixture
def guarded(processes: Processes, upstream: Upstream, authz: Service) -> Envoy:
    return edge(processes, upstream, AUTHZ, [authz], configs.be_patient)


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    file = tmp_path / "limits" / "limits.yaml"
    file.parent.mkdir()
    write(file, limit(2))
    return file


@pytest.fixture
def ratelimit(processes: Processes, limits: Path) -> Service:
    started = start_ratelimit(processes, limits, options=AT_ONCE)
    started.wait_ready()
    return started


@pytest.fixture
def limited(processes: Processes, upstream: Upstream, ratelimit: Service) -> Envoy:
    return edge(processes, upstream, RATELIMIT, [ratelimit], configs.be_patient)


def statuses(envoy: Envoy, *paths: str) -> list[int]:
    return [get(envoy.port, path).status for path in paths]


def until_statuses(envoy: Envoy, expected: list[int], *paths: str) -> None:
    envoy.process.until(
        lambda: True if statuses(envoy, *paths) == expected else None, f"{expected} for {paths}"
    )


def test_a_changed_policy_counts_without_a_failed_request(guarded: Envoy, policies: Path) -> None:
    assert statuses(guarded, "/open/1", "/other/1") == [200, 403]
    with Load(guarded.port, "/open/1") as steady, Load(guarded.port, "/other/1") as changing:
        write(policies / "other.yaml", policy("/other/*").replace("open", "other"))
        until_statuses(guarded, [200, 200], "/open/1", "/other/1")
    assert steady.answers.keys() == {200}, steady.answers
    assert changing.answers.keys() <= {200, 403}, changing.answers


def test_a_removed_policy_counts(guarded: Envoy, policies: Path) -> None:
    write(policies / "other.yaml", policy("/other/*").replace("open", "other"))
    until_statuses(guarded, [200, 200], "/open/1", "/other/1")
    (policies / "open.yaml").unlink()
    until_statuses(guarded, [403, 200], "/open/1", "/other/1")


def test_a_broken_policy_leaves_the_old_ones_in_force_and_is_told(
    guarded: Envoy, authz: Service, policies: Path
) -> None:
    file = policies / "open.yaml"
    with Load(guarded.port, "/open/1") as steady:
        write(file, BROKEN)
        said = until_refused(authz, file)
        assert said.startswith("ready\nthe newest configuration is refused, the one before serves on:\n")
        assert f"{file}:" in said.splitlines()[2]
        assert get(authz.admin_port, "/readyz").status == 200
        assert "config_broken 1.0" in get(authz.admin_port, "/metrics").text
        assert statuses(guarded, "/open/1", "/other/1") == [200, 403]
        write(file, policy("/other/*"))
        until_statuses(guarded, [403, 200], "/open/1", "/other/1")
        until_accepted(authz)
    assert steady.answers.keys() <= {200, 403}, steady.answers


def test_one_broken_file_among_good_ones_changes_nothing(
    guarded: Envoy, authz: Service, policies: Path
) -> None:
    write(policies / "zz.yaml", BROKEN)
    until_refused(authz, policies / "zz.yaml")
    assert statuses(guarded, "/open/1", "/other/1") == [200, 403]


def test_an_unknown_field_is_refused_like_a_broken_file(
    guarded: Envoy, authz: Service, policies: Path
) -> None:
    file = policies / "open.yaml"
    write(file, policy("/other/*").replace("paths:", "pathz:"))
    assert "pathz" in until_refused(authz, file)
    assert statuses(guarded, "/open/1", "/other/1") == [200, 403]


def admitted(envoy: Envoy, user: str, requests: int) -> int:
    return sum(get(envoy.port, "/", x_user=user).status == 200 for _ in range(requests))


def until_limit(envoy: Envoy, requests: int) -> None:
    """Return once Envoy is told a limit of so many *requests*."""

    def told() -> bool | None:
        limit_header = get(envoy.port, "/", x_user="prober").headers["x-ratelimit-limit"]
        return True if limit_header.startswith(f"{requests},") else None

    envoy.process.until(told, f"a limit of {requests}")


def test_a_changed_limit_counts_without_a_failed_request(limited: Envoy, limits: Path) -> None:
    assert admitted(limited, "alice", 5) == 2
    with Load(limited.port, "/") as unlimited:
        write(limits, limit(4))
        until_limit(limited, 4)
    assert unlimited.answers.keys() == {200}, unlimited.answers
    assert admitted(limited, "bob", 6) == 4


def test_a_broken_limit_leaves_the_old_one_in_force_with_what_it_has_counted(
    limited: Envoy, ratelimit: Service, limits: Path
) -> None:
    assert admitted(limited, "alice", 1) == 1
    write(limits, limit(9).replace("day", "fortnight"))
    said = until_refused(ratelimit, limits)
    assert said.startswith("ready\n")
    assert "fortnight" in said
    assert get(ratelimit.admin_port, "/readyz").status == 200
    assert admitted(limited, "alice", 5) == 1
    assert admitted(limited, "bob", 5) == 2
    write(limits, limit(3))
    until_limit(limited, 3)
    until_accepted(ratelimit)
    assert admitted(limited, "carol", 5) == 3


def test_sighup_reads_again_too(limited: Envoy, ratelimit: Service) -> None:
    ratelimit.process.signal(signal.SIGHUP)
    ratelimit.process.until_logged("reload (SIGHUP)")
    assert admitted(limited, "alice", 5) == 2
