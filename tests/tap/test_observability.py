"""The dashboard and the alert rules that are shipped: each metric and label in them is one that the service has."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from envoy_demo import captures, configs
from envoy_demo.client import Request, get, send
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_tap
from envoy_demo.stack import TAP_SLOT, tap_reloads
from envoy_demo.upstream import start_upstream
from envoy_sidecar.transport.address import Address
from tests.observability import Samples, alerts_of, bare, expressions_of, hold, hold_form, samples_of
from tests.tap.serving import Served
from tests.tap.test_collector import METHOD
from tests.tap.test_ecds import proxy

_ALTERNATIVES = re.compile(r'([a-z_]+)\{[^}]*?([a-z_]+)[=!]~"([^"$]*)"')


@dataclass(frozen=True)
class Scraped:
    """What a service says at its start, and when it has seen everything."""

    begun: Samples
    text: str
    known: Samples


async def refuse(port: int) -> None:
    """Subscribe as a proxy, and refuse the slot."""
    async with proxy(Served(Address(LOOPBACK, port))) as edge:
        await edge.subscribes("edge-2")
        await edge.receives()
        await edge.nacks("no such filter")
        # The stream is answered when all that was sent on it has been read.
        await edge.stream.done_writing()
        assert await edge.stream.code() is grpc.StatusCode.OK


def metrics(tap: Service) -> str:
    return get(tap.admin_port, "/metrics").text


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Scraped:
    """What a service says that captured, was refused a slot, got garbage and a policy that is broken."""
    folder = tmp_path_factory.mktemp("scrape")
    policy = folder / "policy.yaml"
    policy.write_text("never: {paths: [/login]}", "utf-8")
    with Processes(folder) as processes:
        options = ("--policy", str(policy), "--target-path", "/orders", "--drain-delay", "0")
        tap = start_tap(processes, folder / "data", options)
        upstream = start_upstream(processes)
        tap.wait_ready()
        begun = metrics(tap)
        upstream.wait_ready()
        ports = {"upstream": [upstream.port], "envoy_tap": [tap.port]}
        envoy = start_envoy(processes, configs.on_ports(configs.load("tap.yaml"), ports))
        envoy.until_stat(tap_reloads(TAP_SLOT), at_least=1)
        answer = send(envoy.port, Request("GET", "/orders/1"))
        tap.process.until(
            lambda: captures.find(tap.admin_port, answer.headers["x-request-id"]), "the exchange"
        )
        asyncio.run(refuse(tap.port))
        with grpc.insecure_channel(f"{LOOPBACK}:{tap.port}") as channel:
            stream: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(METHOD)
            assert stream(iter([b"\xff\xff"]), timeout=10) == b""
        policy.write_text("never: [", "utf-8")
        tap.process.until_logged("the old configuration serves on")
        found = metrics(tap)
    return Scraped(samples_of(begun), found, samples_of(found))


def test_there_are_expressions() -> None:
    assert len(expressions_of("tap")) > 20


@pytest.mark.parametrize("expression", expressions_of("tap"))
def test_each_metric_and_label_is_one_that_the_service_has(expression: str, scraped: Scraped) -> None:
    hold(expression, scraped.known)
    for name, label, values in _ALTERNATIVES.findall(expression):
        for value in values.split("|"):
            assert (label, value) in scraped.known[name]


def test_what_was_seen_is_counted(scraped: Scraped) -> None:
    for sample in (
        'tap_exchanges_total{outcome="complete"}',
        'tap_verdicts_total{verdict="captured"}',
        'tap_slot_updates_total{result="nack"}',
        'tap_dropped_total{reason="unparseable"}',
        "config_broken",
    ):
        assert f"{sample} 1.0\n" in scraped.text


def test_what_an_alert_sees_increase_is_there_before_it_counts(scraped: Scraped) -> None:
    watched = [rule["expr"] for rule in alerts_of("tap") if "increase(" in rule["expr"]]
    assert len(watched) > 3
    for expression in watched:
        hold(expression, scraped.begun)
    for name, labels in scraped.known.items():
        if name.startswith("tap_"):
            assert labels == scraped.begun[name], "no count begins with 1"


@pytest.mark.parametrize("expression", expressions_of("tap"))
def test_every_bare_metric_is_seen_by_that_test(expression: str) -> None:
    assert not re.search(r"\b(tap|config|grpc|health)_", bare(expression))


def test_alerts_say_what_to_do_and_the_dashboard_has_titles() -> None:
    hold_form("tap")


def test_the_page_names_every_count_of_the_service(scraped: Scraped) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operate.md").read_text("utf-8")
    for name, labels in scraped.known.items():
        if name.startswith("tap_"):
            for label, value in labels:
                assert f"`{name}{{{label}}}`" in page
                assert f"`{value}`" in page, name
