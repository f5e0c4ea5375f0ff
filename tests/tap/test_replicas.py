"""Two replicas on one Valkey, as real processes: each shows what the other received, and each serves its own Envoy."""

import base64
import json
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Self

import pytest

from envoy_demo import captures, configs
from envoy_demo.client import Request, get, send
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_tap
from envoy_demo.upstream import start_upstream
from envoy_demo.valkey import start_valkey

SESSIONS = "/api/v1/sessions"


@dataclass(frozen=True)
class Pair:
    """Two replicas, and the Envoy that is connected to the second one."""

    processes: Processes
    here: Service
    there: Service
    envoy: Envoy


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Processes(tmp_path_factory.mktemp("replicas")) as processes:
        valkey, upstream = start_valkey(processes), start_upstream(processes)
        key = processes.folder / "shared.key"
        key.write_bytes(base64.b64encode(secrets.token_bytes(32)))
        key.chmod(0o600)
        options = ("--store", valkey.url, "--key-file", str(key), "--drain-delay", "0")
        here, there = (start_tap(processes, processes.folder / name, options) for name in ("here", "there"))
        for each in (here, there, upstream):
            each.wait_ready()
        ports = {"upstream": [upstream.port], "envoy_tap": [there.port]}
        yield Pair(
            processes, here, there, start_envoy(processes, configs.on_ports(configs.load("tap.yaml"), ports))
        )


def started(service: Service, **asked: Any) -> str:
    body = json.dumps({"why": "a test", **asked}).encode()
    request = Request("POST", SESSIONS, {"content-type": "application/json"}, body)
    answer = send(service.admin_port, request)
    assert answer.status == 201, answer.text
    return str(answer.json()["id"])


def is_armed(pair: Pair, session_id: str) -> None:
    """Return once the first replica says that the Envoy, which the second one serves, has the session."""

    def armed() -> bool | None:
        nodes = get(pair.here.admin_port, "/api/v1/nodes").json()["nodes"]
        return (
            any(
                session_id in node["sessions"] and node["acked_version"] == node["sent_version"]
                for node in nodes
            )
            or None
        )

    pair.here.process.until(armed, "an Envoy that captures")


def test_a_session_of_one_replica_reaches_the_envoy_of_another_which_shows_it_live(pair: Pair) -> None:
    session_id = started(pair.here, predicate="path^=/orders")
    is_armed(pair, session_id)
    (reached,) = get(pair.here.admin_port, f"{SESSIONS}/{session_id}").json()["reached"]
    assert (reached["id"], reached["nack"]) == ("edge-1", "")
    with Watched(pair.here, session_id) as watched:
        assert send(pair.envoy.port, Request("GET", "/orders/1")).status == 200
        assert watched.exchange()["path"] == "/orders/1", "the other replica received it"
    for replica in (pair.here, pair.there):
        assert [each["request"]["path"] for each in captures.exchanges(replica.admin_port, session_id)] == [
            "/orders/1"
        ]

    def counted() -> bool | None:
        found = get(pair.here.admin_port, f"{SESSIONS}/{session_id}").json()
        return found["counts"].get("captured") == 1 or None

    pair.here.process.until(counted, "the counters of the other replica")


def test_a_stop_at_one_replica_ends_it_at_the_other_and_in_its_envoy(pair: Pair) -> None:
    session_id = started(pair.here)
    is_armed(pair, session_id)
    assert send(pair.here.admin_port, Request("POST", f"{SESSIONS}/{session_id}/stop")).status == 200

    def withdrawn() -> bool | None:
        nodes = get(pair.there.admin_port, "/api/v1/nodes").json()["nodes"]
        return all(session_id not in node["sessions"] for node in nodes) or None

    pair.there.process.until(withdrawn, "the withdrawal")
    assert get(pair.there.admin_port, f"{SESSIONS}/{session_id}").json()["state"] == "stopped"
    assert send(pair.there.admin_port, Request("DELETE", f"{SESSIONS}/{session_id}")).status == 204
    pair.here.process.until(
        lambda: get(pair.here.admin_port, f"{SESSIONS}/{session_id}").status == 404 or None, "the deletion"
    )


def test_what_a_killed_replica_received_is_shown_by_the_other(pair: Pair) -> None:
    session_id = started(pair.there, predicate="path^=/late")
    is_armed(pair, session_id)
    assert send(pair.envoy.port, Request("GET", "/late/1")).status == 200
    pair.there.process.until(
        lambda: list(captures.exchanges(pair.there.admin_port, session_id)) or None, "the exchange"
    )
    pair.there.process.signal(signal.SIGKILL)
    pair.there.process.wait(30)
    (found,) = captures.exchanges(pair.here.admin_port, session_id)
    assert found["request"]["path"] == "/late/1"
    assert get(pair.here.admin_port, f"{SESSIONS}/{session_id}").json()["state"] == "active"


class Watched:
    """A live stream of a session."""

    def __init__(self, service: Service, session_id: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", service.admin_port, timeout=30)
        self._connection.request("GET", f"{SESSIONS}/{session_id}/watch")
        self._answer = self._connection.getresponse()

    def __enter__(self) -> Self:
        assert self._answer.readline() == b"event: session\n", "it has begun"
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def exchange(self) -> dict[str, Any]:
        while self._answer.readline() != b"event: exchange\n":
            pass
        assert self._answer.readline().startswith(b"id: ")
        found: dict[str, Any] = json.loads(self._answer.readline().removeprefix(b"data: "))
        return found
