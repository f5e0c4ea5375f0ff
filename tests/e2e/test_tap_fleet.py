"""A fleet of three real Envoys, one on TLS, one with gRPC traffic, and the tap service as its own process."""

import asyncio
import json
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from envoy_demo import configs
from envoy_demo.client import get
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes, ProcessFailedError
from envoy_demo.services import Service, start_tap
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE, log_failures
from tests.e2e.load import Load
from tests.tap.certificates import certificate, with_tls

TTL_S = 3
POLICY = "policy.yaml"
CALLS = "cluster.envoy_tap.upstream_rq_total"
# A call that waits for 10 s is given up by the proxy, and what it carried is lost: a service that a busy machine lets take
# only 10 exchanges a second must not be further behind than that.
PER_S, EXCHANGES, CONNECTIONS, AHEAD = 500, 1000, 4, 100
SECRET = "planted-0d1f"  # noqa: S105 - made up


@dataclass(frozen=True)
class Fleet:
    """The three proxies, by what is special about them, and how a request is made through each."""

    tap: Service
    plain: Envoy
    tls: Envoy
    grpc: Envoy
    ask: Mapping[str, Callable[[], object]]

    @property
    def envoys(self) -> tuple[Envoy, ...]:
        return self.plain, self.tls, self.grpc

    def api(self, method: str, path: str, data: object = None) -> Any:
        answer = httpx.request(method, f"{self.url}/api/v1{path}", json=data, timeout=30)
        assert answer.is_success, answer.text
        return answer.json()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.tap.admin_port}"

    def start(self, predicate: str, **limits: int) -> str:
        asked = {"why": "a test of the fleet", "predicate": predicate, "limits": limits}
        return str(self.api("POST", "/sessions", asked)["id"])

    def until_slots(self, *sessions: str) -> None:
        """Return once each proxy has taken exactly these sessions."""

        def all_have() -> bool | None:
            nodes = self.api("GET", "/nodes")["nodes"]
            taken = [node["sessions"] for node in nodes if node["acked_version"] == node["sent_version"]]
            return True if taken == [list(sessions)] * len(self.envoys) else None

        self.tap.process.until(all_have, f"slots with {sessions}")

    def until_quiet(self) -> None:
        """Return once no proxy calls the tap service for what passes it."""

        def silent() -> bool | None:
            before = [envoy.stat(CALLS) for envoy in self.envoys]
            for ask in self.ask.values():
                ask()
            return True if [envoy.stat(CALLS) for envoy in self.envoys] == before else None

        self.plain.process.until(silent, "silence")


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    """A gRPC upstream that echoes."""
    server = grpc.server(ThreadPoolExecutor(4))
    echo: Any = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Orders", {"Get": echo}),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    yield port
    server.stop(0)


@pytest.fixture(scope="module")
def fleet(of_module: Processes, upstream: Upstream, backend: int) -> Iterator[Fleet]:
    policy = of_module.folder / POLICY
    policy.write_text("never: {}\n", "utf-8")
    options = (*AT_ONCE, "--slot-ttl", str(TTL_S), "--policy", str(policy))
    tap = start_tap(of_module, of_module.folder / "fleet", options)
    tap.wait_ready()
    cert, key = certificate(of_module.folder)

    def envoy(node_id: str, port: int, change: Callable[[Config], object]) -> Envoy:
        config = configs.on_ports(configs.load("tap.yaml"), {"upstream": [port], "envoy_tap": [tap.port]})
        config["node"]["id"] = node_id
        log_failures(config)
        change(config)
        return start_envoy(of_module, config)

    plain = envoy("plain", upstream.port, with_direct_answer)
    tls = envoy("tls", upstream.port, lambda config: with_tls(config, cert, key))
    rpc = envoy("grpc", backend, to_http2)
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    context.load_cert_chain(cert, key)
    with grpc.insecure_channel(f"{LOOPBACK}:{rpc.port}") as channel:
        call: Any = channel.unary_unary("/shop.Orders/Get")
        ask = {
            "plain": lambda: _ok(get(plain.port, "/orders/1").status),
            "tls": lambda: _ok(_get_by_tls(tls.port, context)),
            "grpc": lambda: call(b"\x0a\x03tea", timeout=10),
        }
        yield Fleet(tap, plain, tls, rpc, ask)


@pytest.fixture(autouse=True)
def nobody_taps(fleet: Fleet) -> None:
    """Begin with idle slots, whatever the test before left."""
    for session in fleet.api("GET", "/sessions")["sessions"]:
        if session["state"] == "active":
            fleet.api("POST", f"/sessions/{session['id']}/stop")
    fleet.until_slots()


def with_direct_answer(config: Config) -> None:
    """Let Envoy answer /direct itself, as fast as it can."""
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    direct = {
        "match": {"prefix": "/direct"},
        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
    }
    manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, direct)


def to_http2(config: Config) -> None:
    """Speak HTTP/2 to the upstream, as to the tap service."""
    upstream, tap = config["static_resources"]["clusters"]
    upstream["typed_extension_protocol_options"] = tap["typed_extension_protocol_options"]


def _ok(status: int) -> None:
    assert status == 200


def _get_by_tls(port: int, context: ssl.SSLContext) -> int:
    connection = HTTPSConnection(LOOPBACK, port, context=context, timeout=10)
    try:
        connection.request("GET", "/orders/1", headers={"authorization": f"Bearer {SECRET}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@contextmanager
def traffic(fleet: Fleet) -> Iterator[list[BaseException]]:
    """Have requests pass all three proxies for as long as the context lasts; yields what failed."""
    over, failed = threading.Event(), list[BaseException]()

    def go(ask: Callable[[], object]) -> None:
        while not over.wait(0.01):
            try:
                ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test says so
                failed.append(error)

    with ThreadPoolExecutor(len(fleet.ask)) as pool:
        running = [pool.submit(go, ask) for ask in fleet.ask.values()]
        try:
            yield failed
        finally:
            over.set()
    assert all(each.result() is None for each in running)


def test_from_start_to_the_first_exchange_to_the_idle_slot(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    with traffic(fleet) as failed:
        began_s = time.monotonic()
        session = fleet.start("all", exchanges=1000)
        seen: dict[str, tuple[float, dict[str, Any]]] = {}
        with httpx.stream(
            "GET", f"{fleet.url}/api/v1/sessions/{session}/watch?after=0&full=1", timeout=30
        ) as events:
            for line in events.iter_lines():
                if line.startswith("data: ") and '"request"' in line:
                    exchange = json.loads(line.removeprefix("data: "))
                    seen.setdefault(exchange["node"]["id"], (time.monotonic() - began_s, exchange))
                if len(seen) == len(fleet.envoys):
                    break
        fleet.api("POST", f"/sessions/{session}/stop")
        fleet.until_slots()
        fleet.until_quiet()
    assert failed == []
    first_s = {node: round(after_s, 3) for node, (after_s, _) in seen.items()}
    with capsys.disabled():
        sys.stdout.write(f"\nfirst exchange after the start of its session, in seconds: {first_s}\n")
    # The goal is one second, on a machine that does nothing else; see docs/tap-overhead.md.
    assert min(first_s.values()) < 5
    tls, rpc = seen["tls"][1], seen["grpc"][1]
    assert tls["facts"]["tls_version"].startswith("TLSv1.")
    assert tls["source"]["principal"] == "spiffe://mesh/cart"
    assert rpc["request"]["path"] == "/shop.Orders/Get"
    assert ["grpc-status", "0"] in rpc["response"]["trailers"]
    assert rpc["facts"]["protocol"] == "HTTP/2"
    assert SECRET not in json.dumps(tls)


def test_a_frozen_service_harms_no_request_and_is_taken_up_again(fleet: Fleet) -> None:
    session = fleet.start("all")
    fleet.until_slots(session)
    with traffic(fleet) as failed, Load(fleet.plain.port, "/orders/2") as load:
        fleet.tap.process.signal(signal.SIGSTOP)
        # Nobody renews what they were told: it ends with its time to live.
        fleet.until_quiet()
        fleet.tap.process.signal(signal.SIGCONT)
        fleet.until_slots(session)
        before = fleet.plain.stat(CALLS)
        fleet.plain.until_stat(CALLS, before + 1)
    assert failed == []
    assert set(load.answers) == {200}
    fleet.api("POST", f"/sessions/{session}/stop")
    fleet.until_slots()


def test_a_thousand_exchanges_at_five_hundred_a_second_add_up(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    session = fleet.start("path^=/direct", exchanges=10_000, rate_per_s=1000)
    fleet.until_slots(session)

    def counted() -> dict[str, int]:
        counts: dict[str, int] = fleet.api("GET", f"/sessions/{session}")["counts"]
        return counts

    def all_counted() -> dict[str, int] | None:
        counts = counted()
        return counts if counts.get("seen", 0) >= EXCHANGES else None

    took_s = asyncio.run(paced(fleet.plain.port, lambda: counted().get("seen", 0)))
    try:
        counts = fleet.tap.process.until(all_counted, f"{EXCHANGES} exchanges", 60)
    except ProcessFailedError as error:
        pytest.fail(f"{counted()}, and the proxy says {calls_of(fleet.plain)}\n{error}")
    with capsys.disabled():
        sys.stdout.write(f"\n{EXCHANGES / took_s:.0f} requests a second: {counts}\n")
    assert (counts.pop("captured"), counts.pop("seen")) == (EXCHANGES, EXCHANGES)
    assert counts.pop("bytes") > 0
    assert counts == {}

    def last() -> list[int] | None:
        listed = fleet.api("GET", f"/sessions/{session}/exchanges?after={EXCHANGES - 1}")["exchanges"]
        return [each["seq"] for each in listed] or None

    # An exchange counts from when it was let in, a moment before it is written.
    assert fleet.tap.process.until(last, "the last exchange") == [EXCHANGES]
    fleet.api("POST", f"/sessions/{session}/stop")


def calls_of(envoy: Envoy) -> dict[str, int]:
    """Return what became of the calls that a proxy made to the tap service: where an exchange is lost, it is here."""
    lines = envoy.admin("/stats?filter=^cluster.envoy_tap.(upstream_(rq|cx)_|circuit)&usedonly").splitlines()
    found = (line.removeprefix("cluster.envoy_tap.").split(": ") for line in lines)
    return {name: int(value) for name, value in found if value.isdigit()}


async def paced(port: int, seen: Callable[[], int]) -> float:
    """Make the requests at their pace, on connections that are kept; return how long it took, in seconds.

    Where the service is more than AHEAD exchanges behind, as *seen* says, on a machine that is too busy for the pace,
    they wait for it: none may be lost for what the machine is.
    """
    arrived, known = asyncio.Condition(), 0

    async def ask_the_service() -> None:
        nonlocal known
        while True:
            now_seen = await asyncio.to_thread(seen)
            async with arrived:
                known = now_seen
                arrived.notify_all()
            await asyncio.sleep(0.1)

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        for place in range(number, EXCHANGES, CONNECTIONS):
            await asyncio.sleep(max(0.0, began_s + place / PER_S - time.monotonic()))
            async with arrived:
                while known < place - AHEAD:
                    await arrived.wait()
            writer.write(b"GET /direct/%d HTTP/1.1\r\nhost: a\r\n\r\n" % place)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(2)
        writer.close()

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask_the_service())
        await asyncio.gather(*(client(number) for number in range(CONNECTIONS)))
        asking.cancel()
    return time.monotonic() - began_s


def test_a_policy_that_changes_holds_running_sessions_to_it(fleet: Fleet, of_module: Processes) -> None:
    policy = of_module.folder / POLICY
    session = fleet.start("all")
    fleet.until_slots(session)

    def until_captured() -> None:
        for envoy in fleet.envoys:
            before = envoy.stat(CALLS)
            envoy.until_stat(CALLS, before + 1)

    with traffic(fleet) as failed:
        until_captured()
        policy.write_text('never: {paths: ["/**"]}\n', "utf-8")
        fleet.until_quiet()
        policy.write_text("never: {paths: [orders]}\n", "utf-8")
        fleet.tap.process.until_logged("'orders' is not a path")
        fleet.until_quiet()
        assert fleet.api("GET", f"/sessions/{session}")["state"] == "active"
        policy.write_text("never: {}\n", "utf-8")
        until_captured()
    assert failed == []
    fleet.api("POST", f"/sessions/{session}/stop")


def test_nothing_of_a_secret_is_in_any_file(of_module: Processes, fleet: Fleet) -> None:
    assert fleet.tap.process.log_text()
    written = [path for path in Path(of_module.folder).rglob("*") if path.is_file()]
    assert written
    assert [str(path) for path in written if SECRET.encode() in path.read_bytes()] == []


def test_a_killed_service_leaves_idle_slots_and_no_failed_request(fleet: Fleet, of_module: Processes) -> None:
    session = fleet.start("all")
    fleet.until_slots(session)
    data = of_module.folder / "fleet"
    with traffic(fleet) as failed, Load(fleet.plain.port, "/orders/3") as load:
        fleet.tap.process.signal(signal.SIGKILL)
        fleet.tap.process.wait(30)
        killed_s = time.monotonic()
        fleet.until_quiet()
        quiet_s = time.monotonic() - killed_s
        again = start_tap(of_module, data, (*AT_ONCE, "--slot-ttl", str(TTL_S)), port=fleet.tap.port)
        again.wait_ready()
        replace(fleet, tap=again).until_slots(session)
    assert failed == []
    assert set(load.answers) == {200}
    # What was on its way when it was killed may come a little after; a loaded machine is no fault of the slot.
    assert quiet_s < TTL_S + 10
