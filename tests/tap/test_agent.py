"""The agent beside an Envoy without xDS: refusals reach the operator, and what it was told ends when the service does."""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
from hypothesis import given
from hypothesis import strategies as st

from envoy_demo import configs
from envoy_demo.client import Request, send
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import start_tap
from envoy_sidecar.transport.address import Address
from envoy_tap.agent.agent import Agent, Place
from envoy_tap.agent.request import socket_request, tap_request
from envoy_tap.core.exchange import Node
from envoy_tap.core.predicate import Expr
from envoy_tap.lint.fields import tree
from envoy_tap.lint.rules import check
from tests.conformance.tap.checks import target
from tests.conformance.tap.rigs import SLOT, without_xds
from tests.tap.predicates import combined, early_conditions, late_conditions
from tests.tap.proxied import Tapped, tapped

ATTACHED = {"output_config": {"sinks": [{"streaming_admin": {}}]}, "match": {"any_match": True}}


def run(*arguments: str) -> str:
    argv = [sys.executable, "-m", "envoy_tap", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def running(at: Tapped, config_id: str = "envoy_tap") -> asyncio.Task[None]:
    place = Place(Address("127.0.0.1", at.envoy.admin_port), Node("edge-1", "edge"), config_id)
    return asyncio.create_task(Agent(place, at.channel()).run())


async def over(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_envoys_refusal_reaches_the_operator(tmp_path: Path) -> None:
    async with tapped(tmp_path, change=without_xds) as at:
        agent = await running(at, "other")
        at.slot.set(target())
        assert "Unknown config id 'other'" in await at.settled()
        await over(agent)


async def test_what_the_lint_finds_an_error_in_is_not_posted_but_told(tmp_path: Path) -> None:
    async with tapped(tmp_path, change=without_xds) as at:
        agent = await running(at, "")
        at.slot.set(target())
        assert await at.settled() == "Envoy refuses this: it has no config_id"
        assert at.envoy.stat("http.admin.downstream_rq_4xx") == 0, "Envoy was not asked"
        await over(agent)


OWNER = "[A-Za-z0-9._%+-]{1,64}/[A-Za-z0-9.-]{1,64}"


async def test_a_regex_is_decided_by_the_agent_for_envoy_aborts_on_one_that_it_does_not_like(
    tmp_path: Path,
) -> None:
    async with tapped(tmp_path, change=without_xds) as at:
        agent = await running(at)
        at.slot.set(target(f'header[x-owner] ~ "{OWNER}" and not header[x-a] ~ "(.*a){{20}}"'))
        assert await at.settled() == ""
        await at.ask("GET /none HTTP/1.1", "x-owner: none")
        await at.ask("GET /excepted HTTP/1.1", "x-owner: team/one", f"x-a: {'a' * 20}")
        await at.ask("GET /wanted HTTP/1.1", "x-owner: team/one")
        found = await at.sink.next()
        assert found.request is not None
        assert found.request.first(":path") == b"/wanted"
        await over(agent)


@given(st.lists(combined(early_conditions | late_conditions), min_size=1, max_size=3), st.booleans())
def test_what_an_agent_posts_is_clean(exprs: list[Expr], is_of_sockets: bool) -> None:
    sessions = [replace(target(), predicate=expr) for expr in exprs]
    body = (socket_request if is_of_sockets else tap_request)("envoy_tap", sessions)
    assert check(tree(body, "POST /tap")) == []


async def test_an_envoy_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with tapped(tmp_path, change=without_xds) as at:
        agent = asyncio.create_task(
            Agent(Place(Address("127.0.0.1", 1), Node("edge-1", "edge"), "envoy_tap"), at.channel()).run()
        )
        at.slot.set(target())
        assert "no answer from Envoy's admin interface at 127.0.0.1:1" in await at.settled()
        await over(agent)


async def test_without_the_service_the_agent_lets_go_of_envoy(tmp_path: Path) -> None:
    async with tapped(tmp_path, change=without_xds, ttl_s=4) as at:
        agent = await running(at)
        at.slot.set(target())
        assert await at.settled() == ""
        await at.ask()
        await at.sink.next()
        assert await attach(at.envoy.admin_port) == 400, "Envoy gives itself to one client at a time"
        await at.kill_service()
        async with asyncio.timeout(30):
            while await attach(at.envoy.admin_port) != 200:  # noqa: ASYNC110 - what Envoy lets go of fires no event
                await asyncio.sleep(0.05)
        assert (await at.ask()).endswith(b"pong")
        await over(agent)


async def attach(admin_port: int) -> int:
    """Return the status that another client of /tap gets."""
    body = {"config_id": "envoy_tap", "tap_config": ATTACHED}
    async with (
        httpx.AsyncClient() as client,
        client.stream("POST", f"http://127.0.0.1:{admin_port}/tap", json=body) as answer,
    ):
        return answer.status_code


def test_the_agent_as_an_operator_has_it(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        tap = start_tap(processes, tmp_path / "data")
        tap.wait_ready()
        config = configs.on_ports(configs.load("tap.yaml"), {"upstream": [1], "envoy_tap": [1]})
        without_xds(config)
        envoy = start_envoy(processes, config)
        argv = [
            sys.executable,
            "-m",
            "envoy_tap",
            "agent",
            "--node-id",
            "edge-7",
            "--tap",
            f"{LOOPBACK}:{tap.port}",
        ]
        agent = processes.start("agent", [*argv, "--envoy-admin", f"{LOOPBACK}:{envoy.admin_port}"])
        api = f"http://{LOOPBACK}:{tap.admin_port}/api/v1"
        asked = {"why": "a test", "predicate": "status=503 and path^=/orders"}
        session = httpx.post(f"{api}/sessions", json=asked).raise_for_status().json()["id"]

        def armed() -> bool | None:
            nodes = httpx.get(f"{api}/nodes").json()["nodes"]
            return (
                True
                if any(
                    each["driver"] == "admin"
                    and each["sessions"] == [session]
                    and each["acked_version"] == each["sent_version"]
                    for each in nodes
                )
                else None
            )

        agent.until(armed, "the agent that taps")
        send(envoy.port, Request("GET", "/other"))
        send(envoy.port, Request("POST", "/orders/1", {"authorization": "Bearer s3cr3t"}, b"question"))
        found = agent.until(
            lambda: httpx.get(f"{api}/sessions/{session}/exchanges").json()["exchanges"] or None,
            "an exchange",
        )
        assert [(each["method"], each["path"], each["status"]) for each in found] == [
            ("POST", "/orders/1", 503)
        ]
        assert found[0]["node"]["id"] == "edge-7"
        exported = run(
            "export-slot", session, "--node-id", "edge-8", "--admin", f"{LOOPBACK}:{tap.admin_port}"
        )
        slot = tmp_path / "slot.json"
        slot.write_text(exported, "utf-8")
        assert (json.loads(exported)["name"], session in exported, "edge\\\\0458" in exported) == (
            SLOT,
            True,
            True,
        )
        run("lint", str(slot))
