"""tap behind a real, stock Envoy: what is targeted is captured whole and without secrets, the rest is not touched."""

import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from envoy_demo import captures
from envoy_demo.captures import Captured
from envoy_demo.client import Request, Response, get, send
from envoy_demo.envoy import Envoy
from envoy_demo.processes import Processes
from envoy_demo.scenario import REDACTED
from envoy_demo.services import Service, start_tap
from envoy_demo.stack import TAP_SLOT, tap_reloads
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE, TAP, edge

SECRET = "Bearer nobodys-business"  # noqa: S105 - made up
BODY_CAP_BYTES = 64 << 10
CALLS = "cluster.envoy_tap.upstream_rq_total"


@dataclass(frozen=True, slots=True)
class Tapped:
    envoy: Envoy
    tap: Service
    data: Path

    def captured(self, answer: Response) -> Captured:
        request_id = answer.headers["x-request-id"]
        return self.tap.process.until(
            lambda: captures.find(self.tap.admin_port, request_id), f"exchange {request_id}"
        )


@pytest.fixture(scope="module")
def tapped(of_module: Processes, upstream: Upstream) -> Tapped:
    data = of_module.folder / "data"
    target = ("--target-path", "/orders", "--target-method", "POST", "--target-header", "x-tap=yes")
    tap = start_tap(of_module, data, (*target, *AT_ONCE))
    tap.wait_ready()
    envoy = edge(of_module, upstream, TAP, [tap])
    envoy.until_stat(tap_reloads(TAP_SLOT), at_least=1)
    return Tapped(envoy, tap, data)


def order(body: bytes = b'{"item": "tea"}', **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", "/orders/1?express=1", {"x-tap": "yes", **named}, body)


def test_a_targeted_exchange_is_captured_with_both_bodies(tapped: Tapped) -> None:
    answer = send(tapped.envoy.port, order(content_type="application/json"))
    captured = tapped.captured(answer)
    assert (captured.method, captured.path) == ("POST", "/orders/1?express=1")
    assert captured.request_body == '{"item": "tea"}'
    assert captured.request_headers["content-type"] == "application/json"
    assert captured.status == answer.status == 200
    assert captured.response_body == answer.text
    assert captured.response_headers["content-type"] == "application/json"
    assert (captured.truncated, captured.incomplete) == (False, False)
    assert answer.text.encode() not in b"".join(file.read_bytes() for file in tapped.data.iterdir())


def test_secrets_do_not_leave_the_proxy_and_do_reach_the_upstream(tapped: Tapped) -> None:
    answer = send(tapped.envoy.port, order(authorization=SECRET, cookie="sid=hush", x_note="plain"))
    captured = tapped.captured(answer)
    shown = {name: captured.request_headers[name] for name in ("authorization", "cookie", "x-note")}
    assert shown == {"authorization": REDACTED, "cookie": REDACTED, "x-note": "plain"}
    assert f"authorization ({len(SECRET)} characters)" in answer.json()["not_echoed"]
    (session_id,) = captures.sessions(tapped.tap.admin_port)
    listed = json.dumps(list(captures.exchanges(tapped.tap.admin_port, session_id))).encode()
    for content in (listed, *(file.read_bytes() for file in tapped.data.iterdir())):
        assert b"nobodys-business" not in content
        assert b"sid=hush" not in content


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "/other", {"x-tap": "yes"}, b"{}"),
        Request("GET", "/orders/1", {"x-tap": "yes"}),
        Request("POST", "/orders/1", {}, b"{}"),
        Request("POST", "/orders/1", {"x-tap": "no"}, b"{}"),
        Request("POST", "/other?x=/orders", {"x-tap": "yes"}, b"{}"),
    ],
    ids=["path", "method", "no header", "header", "query"],
)
def test_what_is_not_targeted_is_not_captured(tapped: Tapped, request_: Request) -> None:
    before = tapped.envoy.stat(CALLS)
    untargeted = send(tapped.envoy.port, request_)
    assert untargeted.status == 200
    # Envoy calls the service before the answer's end goes on, so by now it would have.
    assert tapped.envoy.stat(CALLS) == before
    tapped.captured(send(tapped.envoy.port, order()))
    assert tapped.envoy.stat(CALLS) == before + 2
    assert captures.find(tapped.tap.admin_port, untargeted.headers["x-request-id"]) is None


def test_a_body_over_the_cap_is_cut_in_the_capture_and_says_so_and_passes_whole(tapped: Tapped) -> None:
    answer = send(tapped.envoy.port, order(b"x" * (3 * BODY_CAP_BYTES)))
    assert answer.json()["body"] == "x" * (3 * BODY_CAP_BYTES)
    captured = tapped.captured(answer)
    assert captured.request_body == "x" * BODY_CAP_BYTES
    assert len(captured.response_body) == BODY_CAP_BYTES
    assert (captured.truncated, captured.incomplete) == (True, False)


def test_the_service_says_which_proxy_has_its_slot(tapped: Tapped) -> None:
    nodes = get(tapped.tap.admin_port, "/config").json()["nodes"]
    assert [(node["id"], node["cluster"], node["nack"]) for node in nodes] == [("edge-1", "edge", "")]
    assert nodes[0]["acked_version"] == nodes[0]["sent_version"]


def test_a_target_ends_in_the_proxy_by_itself_though_nobody_tells_it(
    processes: Processes, upstream: Upstream
) -> None:
    data = processes.folder / "data"
    tap = start_tap(processes, data, ("--target-path", "/", "--target-for", "5", *AT_ONCE))
    tap.wait_ready()
    envoy = edge(processes, upstream, TAP, [tap])
    envoy.until_stat(tap_reloads(TAP_SLOT), at_least=1)
    Tapped(envoy, tap, data).captured(send(envoy.port, Request("GET", "/")))
    tap.process.signal(signal.SIGSTOP)

    def silent() -> bool | None:
        before = envoy.stat(CALLS)
        assert send(envoy.port, Request("GET", "/")).status == 200
        return True if envoy.stat(CALLS) == before else None

    envoy.process.until(silent, "end of the target")
    tap.process.signal(signal.SIGCONT)
