"""Sessions of connections: off unless asked for, forbidden by what their bytes could break, and exact when captured."""

import io
import json
import re
import socket
import socketserver
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import httpx
import pcapng
import pytest

from envoy_demo import configs
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_tap
from envoy_tap import wire
from envoy_tap.access import Person, Role
from envoy_tap.access.rules import DeniedError, Rule, Rules
from envoy_tap.core.assembly import Assembler, Limits
from envoy_tap.core.events import Loss, WholeConnection
from envoy_tap.core.exchange import Exchange, Facts, Node, SocketEvent
from envoy_tap.core.node import Proxy
from envoy_tap.core.policy import Policy
from envoy_tap.core.record import as_object, exchange_of, summary
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Redaction
from envoy_tap.core.session import Progress, SessionError, Verdict
from envoy_tap.core.sockets import cut
from envoy_tap.core.spec import as_object as session_object
from envoy_tap.core.spec import requested, stored
from envoy_tap.drivers.choice import resource
from envoy_tap.slot.script import Setup
from envoy_tap.slot.slot import Slot
from envoy_tap.slot.subscription import SlotError
from tests.tap.building import NODE, Clock, exchange, session
from tests.tap.export.samples import written

BINARY = bytes(range(256))
EVENTS = (
    SocketEvent(1_000_000.25, True, b"EHLO me\r\n"),
    SocketEvent(1_000_000.5, False, BINARY),
    SocketEvent(1_000_000.75, True, BINARY[::-1]),
)
CONNECTION = Exchange(
    "tap-1",
    NODE,
    7,
    None,
    None,
    1_000_000.25,
    1_000_000.75,
    source_address="[2001:db8::7]:4711",
    facts=Facts(local_address="[2001:db8::9]:25"),
    socket=EVENTS,
)
AGENT = Proxy(Node("edge-1", "edge"), (("envoy_tap.driver", "admin"),))
SETUP = Setup()


def asked(**more: object) -> dict[str, object]:
    return {"why": "a test", **more}


def test_a_connection_crosses_the_wire_unchanged() -> None:
    lost: list[Loss] = []
    event = wire.StreamDecoder(1, lost.append).decode(wire.written(CONNECTION))
    assert isinstance(event, WholeConnection)
    assert Assembler(Limits(), lost.append).feed(event, 2_000_000.0) == [CONNECTION]
    (capped,) = Assembler(Limits(max_body_bytes=10), lost.append).feed(event, 2_000_000.0)
    assert (capped.truncated, capped.content_bytes) == (True, 9 + 1 + 10)
    assert lost == []


def test_a_connection_is_stored_unchanged() -> None:
    assert exchange_of(json.loads(json.dumps(as_object(CONNECTION)))) == CONNECTION
    found = summary(CONNECTION, 1)
    assert (found["protocol"], found["request_bytes"], found["response_bytes"]) == ("socket", 9 + 256, 256)


def test_each_direction_is_cut_by_itself() -> None:
    assert [each.data for each in cut(EVENTS, 10)] == [b"EHLO me\r\n", BINARY[:10], BINARY[::-1][:1]]
    assert cut(EVENTS, 0) == ()


def test_a_session_of_connections_is_asked_for_and_takes_nothing_else() -> None:
    plain = requested(asked(), session_id="a", who="me", now_s=1.0)
    wanting = requested(asked(socket=True), session_id="a", who="me", now_s=1.0)
    assert (plain.socket, wanting.socket) == (False, True)
    assert stored(session_object(wanting)) == wanting
    assert Progress(session()).judge(CONNECTION, 1_000_001.0) is Verdict.UNMATCHED
    assert Progress(session(socket=True)).judge(exchange(), 1_000_001.0) is Verdict.UNMATCHED
    assert Progress(session(socket=True)).judge(CONNECTION, 1_000_001.0) is Verdict.CAPTURED
    small = {"predicate": "source.address=10.0.0.0/8", "socket": True}
    elsewhere = requested(asked(**small), session_id="a", who="me", now_s=1_000_000.0)
    assert Progress(elsewhere).judge(CONNECTION, 1_000_001.0) is Verdict.UNMATCHED


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"predicate": "path=/orders"}, "predicate: path is of an HTTP exchange"),
        ({"predicate": "not status=5xx"}, "predicate: status is of an HTTP exchange"),
        ({"socket": "yes"}, "socket: "),
    ],
)
def test_what_cannot_be_asked_of_a_connection_is_refused(more: dict[str, object], said: str) -> None:
    with pytest.raises(SessionError, match=re.escape(said)):
        requested(asked(**{"socket": True, **more}), session_id="a", who="me", now_s=1.0)


@pytest.mark.parametrize(
    "policy", [Policy(("/login",)), Policy((), frozenset({"x-ssn"})), Policy(never_sockets=True)]
)
def test_what_the_policy_forbids_it_forbids_in_connections(policy: Policy) -> None:
    assert not policy.allows(CONNECTION)
    slot = Slot(Clock(), policy)
    slot.set(session(socket=True), session("tap-2"))
    assert [each.id for each in slot.sessions_for(AGENT)] == ["tap-2"]


def test_only_an_agent_hears_of_sessions_of_connections() -> None:
    assert Policy().allows(CONNECTION)
    slot = Slot(Clock())
    slot.set(session(socket=True))
    assert [each.id for each in slot.sessions_for(AGENT)] == ["tap-1"]
    lua = Proxy(NODE, ())
    assert slot.sessions_for(lua) == ()
    with pytest.raises(SlotError, match="lua captures no connections"):
        resource("slot", [session(socket=True)], lua, SETUP)
    with pytest.raises(SlotError, match="one client at a time"):
        resource("slot", [session(socket=True), session("tap-2")], AGENT, SETUP)


def test_a_team_that_is_held_to_paths_gets_no_connections() -> None:
    person = Person("ann", Role.OPERATOR, frozenset({"shop"}))
    with pytest.raises(DeniedError, match="some paths only"):
        Rules([Rule("shop", paths=("/orders/**",))]).granted(person, session(socket=True))
    assert Rules([Rule("shop")]).granted(person, session(socket=True)).socket


def test_text_is_redacted_and_other_bytes_are_left_as_they_are() -> None:
    text = b"GET /?token=s3cr3t HTTP/1.1\r\nAuthorization: Basic s3cr3t\r\nx: a@b.example\r\n\r\n"
    mixed = exchange(None, None, socket=(SocketEvent(1.0, True, text), SocketEvent(2.0, False, BINARY)))
    found = Redactor(Redaction(), frozenset(), b"").redacted(mixed)
    assert found.socket is not None
    assert b"s3cr3t" not in found.socket[0].data
    assert b"a@b.example" not in found.socket[0].data
    assert found.socket[1].data == BINARY
    assert summary(found, 1)["flags"] == ["redacted"]


def test_a_pcapng_holds_the_bytes_with_their_times_and_ends() -> None:
    assert packets(written("pcapng", CONNECTION)) == [
        (4711, 25, 1_000_000.25, b"EHLO me\r\n"),
        (25, 4711, 1_000_000.5, BINARY),
        (4711, 25, 1_000_000.75, BINARY[::-1]),
    ]


def packets(data: bytes) -> list[tuple[int, int, float, bytes]]:
    """Return the ports, time and payload of each TCP packet."""
    found = []
    for block in pcapng.FileScanner(io.BytesIO(data)):
        if isinstance(block, pcapng.blocks.EnhancedPacket):
            packet = block.packet_data
            tcp = packet[40 if packet[0] >> 4 == 6 else 20 :]
            ports = int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")
            found.append((*ports, block.timestamp, tcp[20:]))
    return found


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes, upside down, until the peer is done."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data[::-1])


@contextmanager
def echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def tapped_tcp(config: configs.Config) -> None:
    """Make the listener a TCP proxy whose transport socket the admin interface can tap."""
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    kind = "type.googleapis.com/envoy.extensions"
    tcp = {
        "@type": f"{kind}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t",
        "cluster": "upstream",
    }
    chain["filters"] = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp}]
    raw = {"@type": f"{kind}.transport_sockets.raw_buffer.v3.RawBuffer"}
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tap",
        "typed_config": {
            "@type": f"{kind}.transport_sockets.tap.v3.Tap",
            "common_config": {"admin_config": {"config_id": "envoy_tap_socket"}},
            "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": raw},
        },
    }


def test_a_connection_through_a_real_envoy(tmp_path: Path) -> None:
    with echo() as upstream, Processes(tmp_path) as processes:
        tap = start_tap(processes, tmp_path / "data")
        tap.wait_ready()
        config = configs.on_ports(configs.load("tap.yaml"), {"upstream": [upstream], "envoy_tap": [1]})
        tapped_tcp(config)
        envoy = start_envoy(processes, config)
        argv = [sys.executable, "-m", "envoy_tap", "agent", "--node-id", "edge-7"]
        ends = ["--tap", f"{LOOPBACK}:{tap.port}", "--envoy-admin", f"{LOOPBACK}:{envoy.admin_port}"]
        agent = processes.start("agent", [*argv, *ends])
        session_id = run(
            tap, "start", "--reason", "a test", "--socket", "--body-bytes", "300", "--detach"
        ).strip()
        api = f"http://{LOOPBACK}:{tap.admin_port}/api/v1"

        def armed() -> bool | None:
            nodes = httpx.get(f"{api}/nodes").json()["nodes"]
            return (
                True
                if any(
                    each["acked_version"] == each["sent_version"] and each["sessions"] == [session_id]
                    for each in nodes
                )
                else None
            )

        agent.until(armed, "the agent that taps")
        before_s = datetime.now(UTC).timestamp()
        with closing(socket.create_connection((LOOPBACK, envoy.port))) as client:
            own_port = client.getsockname()[1]
            for sent in (b"hello\r\n", BINARY, b"x" * 100):
                client.sendall(sent)
                assert received(client, len(sent)) == sent[::-1]
        found = agent.until(
            lambda: httpx.get(f"{api}/sessions/{session_id}/exchanges").json()["exchanges"] or None,
            "a connection",
        )
        assert [(each["protocol"], each["flags"]) for each in found] == [("socket", ["truncated"])]
        file = tmp_path / "out.pcapng"
        run(tap, "export", session_id, "--format", "pcapng", "-o", str(file))
        moved = packets(file.read_bytes())
        assert (
            b"".join(each[3] for each in moved if each[0] == own_port)
            == (b"hello\r\n" + BINARY + b"x" * 100)[:300]
        )
        answered = b"".join(each[3] for each in moved if each[1] == own_port)
        assert answered == (b"hello\r\n"[::-1] + BINARY[::-1] + b"x" * 100)[:300]
        assert {frozenset(each[:2]) for each in moved} == {frozenset({own_port, envoy.port})}
        times = [each[2] for each in moved]
        assert times == sorted(times)
        assert before_s - 1 < times[0]
        shown = run(tap, "show", session_id, "1")
        assert f"source address: {LOOPBACK}:{own_port}" in shown
        assert "    hello\n" in shown
        assert "00000000  00 01 02 03" in shown
        refused = httpx.get(f"{api}/sessions/{session_id}/export?format=har")
        assert (refused.status_code, refused.json()["error"]["hint"]) == (422, "take pcapng or jsonl")


def received(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += client.recv(65536)
    return found


def run(tap: Service, *arguments: str) -> str:
    argv = [sys.executable, "-m", "envoy_tap", *arguments, "--admin", f"{LOOPBACK}:{tap.admin_port}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hostile_messages_are_bounded() -> None:
    many = tuple(SocketEvent(1.0, True, b"x") for _ in range(5000))
    event = wire.StreamDecoder(1, lambda _: None).decode(
        wire.written(exchange(None, None, socket=many, source_address="h:1"))
    )
    assert isinstance(event, WholeConnection)
    assert (len(event.events), event.truncated) == (4096, True)
