"""Drivers by declared capability: who asks for what it can't have keeps the idle slot, and is told why."""

import asyncio
import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.agent.objects import Objects
from envoy_tap.core.exchange import Node
from envoy_tap.core.node import Proxy
from envoy_tap.core.response_flags import short_flags
from envoy_tap.drivers.choice import builder
from envoy_tap.drivers.ext_proc import Introduction
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup
from envoy_tap.slot.subscription import SlotError
from tests.conformance.tap.checks import target
from tests.tap.building import NODE, session
from tests.tap.proxied import tapped

BUILD = builder(Setup())
NATIVE = (("envoy_tap.driver", "native"), ("envoy_tap.native_sink", "true"))


@pytest.mark.parametrize(
    ("metadata", "sessions", "says"),
    [
        ((("envoy_tap.driver", "wasm"),), 1, "driver: wasm; known are lua, ext_proc, admin, native"),
        (
            (("envoy_tap.driver", "native"),),
            1,
            "a stock Envoy aborts on its sink; declare envoy_tap.native_sink",
        ),
        (NATIVE, 2, "native has room for one session, 2 want this node"),
    ],
)
def test_what_a_proxy_cannot_have_is_refused_clearly(
    metadata: tuple[tuple[str, str], ...], sessions: int, says: str
) -> None:
    proxy = Proxy(NODE, metadata)
    wanted = [session(f"tap-{number}") for number in range(sessions)]
    with pytest.raises(SlotError, match=says):
        BUILD("slot", wanted, proxy)
    idle = BUILD("slot", (), proxy)
    assert idle == slot_resource("slot", (), proxy)


def test_a_shipped_slot_holds_by_itself_what_the_idle_service_serves() -> None:
    idle = slot_resource("slot", (), Proxy(NODE)).typed_config
    assert idle is not None
    default = re.compile(r'\bdefault_config"?:[\s{]*["\']@type["\']: "?([\w./]+)"?\s*}?,?\n')
    found: list[str] = []
    for path in (*Path("envoy-configs").rglob("*.yaml"), Path("docs/how-to/add-the-tap-slot.md")):
        text = path.read_text("utf-8")
        of_file = default.findall(text)
        assert len(of_file) == text.count("apply_default_config_without_warming"), path
        found += of_file
    assert set(found) == {idle.type_url}


def test_a_proxy_that_declares_the_sink_gets_it() -> None:
    made = json.dumps(BUILD("slot", [session("tap-1", "path^=/a")], Proxy(NODE, NATIVE)).to_dict())
    assert '"streamingGrpc": {"tapId": "tap-1"' in made
    assert "ExtensionWithMatcher" in made


async def test_a_refused_proxy_keeps_the_idle_slot_and_serves(tmp_path: Path) -> None:
    async with tapped(tmp_path, metadata={"driver": "native"}) as at:
        at.slot.set(target())
        assert await at.settled() == ""
        (node,) = at.ecds.nodes()
        assert node.driver == "native"
        assert "a stock Envoy aborts" in node.problem
        assert (await at.ask()).endswith(b"pong")


async def test_ext_proc_ends_the_call_at_the_cap_and_the_body_goes_on(tmp_path: Path) -> None:
    whole = b"x" * (8 << 20)
    async with tapped(tmp_path, metadata={"driver": "ext_proc"}) as at:
        at.slot.set(target(body_bytes=10))
        assert await at.settled() == ""
        at.upstream.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(whole) + whole
        assert (await at.ask()).endswith(whole)
        found = await at.sink.next()
        assert found.response is not None
        assert (found.response.body, found.truncated, found.incomplete) == (b"x" * 10, True, False)
        assert sum(map(len, at.payloads)) < len(whole) / 2


async def test_without_the_service_ext_proc_lets_requests_pass(tmp_path: Path) -> None:
    async with tapped(tmp_path, metadata={"driver": "ext_proc"}) as at:
        at.slot.set(target())
        assert await at.settled() == ""
        await at.kill_service()
        answers = await asyncio.gather(*(at.ask("POST /orders HTTP/1.1", body=b"question") for _ in range(5)))
        assert all(answer.endswith(b"pong") for answer in answers)


@given(st.text(), st.text(), st.lists(st.text()))
def test_a_call_introduces_itself_whatever_its_names_hold(
    node_id: str, cluster: str, tap_ids: list[str]
) -> None:
    said = Introduction(Node(node_id, cluster), tuple(tap_ids))
    assert Introduction.read(said.written()) == said


@given(
    st.text()
    | st.binary()
    | st.recursive(st.text(), st.lists).map(json.dumps).map(str.encode).map(base64.b64encode)
)
def test_what_is_no_introduction_is_none(value: str | bytes) -> None:
    found = Introduction.read(value)
    assert found is None or isinstance(found.tap_ids, tuple)


@pytest.mark.parametrize("texts", [["\ud800", "c", []], ["n", "\udfff", []], ["n", "c", ["\ud800"]]])
def test_half_a_character_introduces_nobody(texts: list[object]) -> None:
    assert Introduction.read(base64.urlsafe_b64encode(json.dumps(texts).encode())) is None


objects = st.lists(
    st.dictionaries(st.text(), st.text() | st.integers() | st.dictionaries(st.text(), st.text())), max_size=5
)


@given(objects, st.integers(1, 40), st.sampled_from([None, 1]))
def test_objects_come_out_whole_however_they_are_cut(
    given_: list[dict[str, object]], width: int, indent: int | None
) -> None:
    stream = b"\n".join(
        json.dumps(each, indent=indent, ensure_ascii=False).encode(errors="replace") for each in given_
    )
    read = Objects(1 << 20)
    found = [each for at in range(0, len(stream), width) for each in read.feed(stream[at : at + width])]
    assert found == json.loads(json.dumps(given_).encode())
    assert read.passed_over == 0


@given(st.lists(st.binary(max_size=50)))
def test_nothing_that_is_fed_raises_or_is_kept_beyond_the_limit(pieces: list[bytes]) -> None:
    read = Objects(64)
    for piece in pieces:
        read.feed(piece)
    assert len(read._held) <= 64 + 50


def test_an_object_that_is_too_long_is_passed_over_and_the_next_one_is_read() -> None:
    read = Objects(1000)
    long = json.dumps({"body": "x" * 5000, "more": {"a": "}"}}).encode()
    found = [each for at in range(0, len(long), 100) for each in read.feed(long[at : at + 100])]
    assert (found, read.passed_over) == ([], 1)
    assert read.feed(b'{"a": 1}') == [{"a": 1}]


def test_response_flags_are_written_as_in_access_logs() -> None:
    assert [short_flags(bits) for bits in (0, 0x2, 0x8020, 1 << 40)] == ["-", "UH", "UF,URX", "-"]
