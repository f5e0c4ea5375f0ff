"""Two replicas of all three services behind one Envoy are upgraded, one after the other, under load.

Not one request fails, none passes for want of an answer, each is counted exactly once, and captures go on.
"""

import base64
import json
import secrets
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from envoy_demo import configs
from envoy_demo.client import Request, get, send
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz, start_ratelimit, start_tap
from envoy_demo.upstream import Upstream
from envoy_demo.valkey import Valkey
from tests.e2e.edges import log_failures
from tests.e2e.load import Load

POLICIES = configs.folder() / "examples" / "policies"
SESSIONS = "/api/v1/sessions"
CLUSTERS = ("envoy_authz", "envoy_ratelimit", "envoy_tap")
# By the year, so that nothing is refilled however slow the machine is.
LIMIT = 100_000
LIMITS = f"""
domain: edge
descriptors:
  - key: user
    value: steady
    rate_limit: {{ unit: year, requests_per_unit: {LIMIT} }}
  - key: user
    value: banned
    rate_limit: {{ unit: year, requests_per_unit: 0 }}
"""

Start = Callable[[Path, int], Service]
Version = Mapping[str, Service]


@dataclass(frozen=True)
class Shop:
    """How a replica of each service is started, by its cluster in Envoy: in a folder, on a port."""

    processes: Processes
    start: Mapping[str, Start]

    def version(self, name: str, ports: Mapping[str, int]) -> Version:
        """Start one replica of each service, ready, with what it writes in a folder *name* of its own."""
        folder = self.processes.folder / name
        folder.mkdir()
        started = {cluster: self.start[cluster](folder, ports.get(cluster, 0)) for cluster in CLUSTERS}
        for each in started.values():
            each.wait_ready()
        return started


def shop(processes: Processes, valkey: Valkey) -> Shop:
    limits = processes.folder / "limits.yaml"
    limits.write_text(LIMITS)
    key = processes.folder / "tap.key"
    key.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    key.chmod(0o600)
    sharing = ("--store", f"{valkey.url}/6", "--key-file", str(key))
    patient = ("--store-timeout", "5", "--on-store-failure", "deny")

    return Shop(
        processes,
        {
            "envoy_authz": lambda _, port: start_authz(processes, POLICIES, port=port),
            "envoy_ratelimit": lambda _, port: start_ratelimit(
                processes, limits, f"{valkey.url}/5", patient, port
            ),
            "envoy_tap": lambda folder, port: start_tap(processes, folder, sharing, port),
        },
    )


def edge_of(processes: Processes, upstream: Upstream, *versions: Version) -> Envoy:
    ports = {cluster: [version[cluster].port for version in versions] for cluster in CLUSTERS}
    config = configs.on_ports(configs.load("edge-replicas.yaml"), {"upstream": [upstream.port], **ports})
    log_failures(config)
    return start_envoy(processes, configs.be_patient(config))


def until_healthy(envoy: Envoy, replicas: int) -> None:
    wanted = {f"cluster.{each}.membership_healthy: {replicas}" for each in CLUSTERS}

    def all_are() -> bool | None:
        return wanted <= set(envoy.admin("/stats?filter=membership_healthy$").splitlines()) or None

    envoy.process.until(all_are, f"{replicas} healthy replicas of each service", 60)


def drained(envoy: Envoy, version: Version) -> None:
    """End *version* by SIGTERM, as a deployment does, once Envoy has seen it go."""
    for each in version.values():
        each.process.signal(signal.SIGTERM)
    until_healthy(envoy, 1)
    assert [each.process.wait(30) for each in version.values()] == [0, 0, 0]


def session_of(tap: Service) -> str:
    asked = {
        "why": "an upgrade",
        "predicate": "path^=/public",
        "limits": {"exchanges": LIMIT, "rate_per_s": 10},
    }
    request = Request("POST", SESSIONS, {"content-type": "application/json"}, json.dumps(asked).encode())
    answer = send(tap.admin_port, request)
    assert answer.status == 201, answer.text
    return str(answer.json()["id"])


def shown(tap: Service, session: str, after: int = 0) -> list[int]:
    """Return the numbers of all exchanges of *session* that this replica shows, behind the one numbered *after*."""
    numbers: list[int] = []
    following: int | None = after
    while following is not None:
        page = get(tap.admin_port, f"{SESSIONS}/{session}/exchanges?after={following}", 30).json()
        numbers += [each["seq"] for each in page["exchanges"]]
        following = page["next"]
    return numbers


def until_captures(tap: Service, session: str, after: int = 0) -> int:
    """Return the number of the last exchange, once this replica shows one behind that numbered *after*."""
    return tap.process.until(lambda: shown(tap, session, after) or None, "captures that go on", 60)[-1]


def test_all_services_are_upgraded_under_load_without_a_failed_or_uncounted_request(
    processes: Processes, upstream: Upstream, valkey: Valkey
) -> None:
    services = shop(processes, valkey)
    first, second = (services.version(name, {}) for name in ("first", "second"))
    envoy = edge_of(processes, upstream, first, second)
    until_healthy(envoy, 2)
    session = session_of(first["envoy_tap"])
    with (
        Load(envoy.port, "/public/hello", {"x-user": "steady"}, clients=1) as allowed,
        Load(envoy.port, "/admin/users", clients=1) as denied,
        Load(envoy.port, "/public/hello", {"x-user": "banned"}, clients=1) as limited,
    ):
        captured = until_captures(first["envoy_tap"], session)
        drained(envoy, first)
        captured = until_captures(second["envoy_tap"], session, captured)
        new = services.version("new", {cluster: each.port for cluster, each in first.items()})
        until_healthy(envoy, 2)
        drained(envoy, second)
        captured = until_captures(new["envoy_tap"], session, captured)

    assert allowed.answers.keys() == {200}, allowed.answers
    assert denied.answers.keys() == {403}, denied.answers
    assert limited.answers.keys() == {429}, limited.answers
    assert envoy.stat("http.ingress.ext_authz.error") == 0
    assert envoy.stat("cluster.upstream.ratelimit.error") == 0
    last = get(envoy.port, "/public/hello", x_user="steady")
    assert int(last.headers["x-ratelimit-remaining"]) == LIMIT - allowed.answers[200] - 1
    numbers = shown(new["envoy_tap"], session)
    assert numbers[:captured] == list(range(1, captured + 1)), "what one replica has shown, the others show"
