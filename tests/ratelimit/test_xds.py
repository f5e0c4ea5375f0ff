"""Limits over xDS, against a real ADS server: acknowledged, refused with the reason, and never lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from envoy_ratelimit.config.inline import load_nodes
from envoy_ratelimit.config.xds import MAX_REFUSAL_S, XdsClient, XdsServer
from envoy_ratelimit.config.xds_wire import TYPE_URL
from envoy_ratelimit.core.rules import Rules
from envoy_sidecar.config.documents import Node
from envoy_sidecar.pb.ratelimit_config_pb2 import RateLimitConfig
from tests.ratelimit.ads import AdsServer, ads_server, limits
from tests.runtime.serving import Authority, until, write_pair

QUICK_S = 0.01


class Served:
    """A client with what it applied last."""

    def __init__(self, server: XdsServer) -> None:
        self.rules = Rules()
        self.client = XdsClient(server, self.apply, first_retry_s=QUICK_S)

    def apply(self, documents: Sequence[Node]) -> str:
        self.rules = load_nodes(documents).rules
        return f"limits: {len(self.rules.rules)}"

    def limits(self) -> list[str]:
        return [f"{rule.domain}.{rule.path} {rule.rate}" for rule in self.rules.rules]


def twice(domain: str) -> RateLimitConfig:
    config = limits(domain, 1)
    config.descriptors.add(key=config.descriptors[0].key)
    return config


@asynccontextmanager
async def subscribed(ads: AdsServer, **options: object) -> AsyncIterator[Served]:
    served = Served(XdsServer(address=f"127.0.0.1:{ads.port}", **options))  # type: ignore[arg-type]
    running = asyncio.create_task(served.client.run())
    try:
        yield served
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_limits_are_asked_for_applied_and_acknowledged() -> None:
    async with ads_server() as ads:
        ads.publish(limits("edge", 5), limits("mesh", 7))
        async with subscribed(
            ads, node_id="edge-1", node_metadata={"zone": "a"}, headers={"x-token": "t"}
        ) as served:
            asked, ack = await ads.heard(), await ads.heard()
            assert (asked.type_url, asked.version_info, asked.response_nonce) == (TYPE_URL, "", "")
            assert asked.node is not None
            assert asked.node.id == "edge-1"
            assert ads.metadata[0]["x-token"] == "t"
            assert (ack.version_info, ack.response_nonce, ack.error_detail) == ("v1", "n1", None)
            assert served.limits() == ["edge.user 5/DAY", "mesh.user 7/DAY"]
            assert served.client.updates.counts == {("ack",): 1, ("nack",): 0}
            ads.publish()
            assert (await ads.heard()).version_info == "v2"
            assert served.limits() == []


async def test_every_unit_and_field_arrives() -> None:
    config = RateLimitConfig(name="all", domain="edge")
    units = ("SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "YEAR")
    for unit in units:
        config.descriptors.extend(limits("x", 3, key=unit.lower(), unit=unit).descriptors)
    free = config.descriptors.add(key="free", value="yes")
    free.rate_limit.unlimited = True
    free.descriptors.add(key="below", shadow_mode=True).rate_limit.CopyFrom(
        limits("x", 1).descriptors[0].rate_limit
    )
    free.descriptors[0].rate_limit.name = "lower"
    free.descriptors[0].rate_limit.replaces.add(name="upper")
    quota = config.descriptors.add(key="quota", quota_mode=True, detailed_metric=True)
    quota.rate_limit.CopyFrom(limits("x", 4).descriptors[0].rate_limit)
    quota.rate_limit.name = "upper"
    async with ads_server() as ads:
        ads.publish(config)
        async with subscribed(ads) as served:
            await asyncio.wait_for(served.client.first.wait(), 10)
            rules = {rule.path: rule for rule in served.rules.rules}
    assert [str(rules[unit.lower()].rate) for unit in units] == [f"3/{unit}" for unit in units]
    assert rules["free_yes"].rate is None
    below = rules["free_yes.below"]
    assert (below.name, below.shadow_mode, set(below.replaces)) == ("lower", True, {"upper"})
    assert (rules["quota"].quota_mode, rules["quota"].labelled) == (True, (0,))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (limits("edge", 1, name="team-a", unit="UNKNOWN"), "xds:team-a:1:1: error: unknown unit 'unknown'"),
        (limits("", 1, name="team-a"), "domain is missing"),
        (limits("edge", 1, key=""), "key must not be empty"),
        (twice("edge"), "comes twice on this level (descriptors[1]); the first is descriptors[0]"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_the_reason(
    broken: RateLimitConfig, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ads_server() as ads:
        ads.publish(limits("edge", 5))
        async with subscribed(ads) as served:
            await ads.heard()
            await ads.heard()
            ads.publish(broken)
            nack = await ads.heard()
            assert (nack.version_info, nack.response_nonce) == ("v1", "n2")
            assert nack.error_detail is not None
            assert said in nack.error_detail.message
            assert said in served.client.describe()["trouble"][0]  # type: ignore[index]
            assert served.limits() == ["edge.user 5/DAY"]
            ads.publish(limits("edge", 6))
            assert (await ads.heard()).error_detail is None
            assert served.client.trouble == ()
            assert served.limits() == ["edge.user 6/DAY"]
    assert said in caplog.text


async def test_what_is_sent_again_is_refused_ever_more_slowly_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ads_server() as ads:
        ads.publish(limits("edge", 5))
        async with subscribed(ads) as served:
            await ads.heard()
            await ads.heard()
            ads.publish(limits("", 5))
            waits = []
            for number in range(2, 7):
                nack = await ads.heard()
                assert nack.error_detail is not None
                assert "domain is missing" in nack.error_detail.message
                assert (nack.version_info, nack.response_nonce) == ("v1", f"n{number}")
                waits.append(served.client.refusal_wait_s)
                ads.again()
            assert waits == [0, QUICK_S, QUICK_S * 2, QUICK_S * 4, QUICK_S * 8]
            # What is right goes before an answer that still waits.
            served.client.refusal_wait_s = MAX_REFUSAL_S
            ads.again()
            ads.publish(limits("edge", 6))
            while (answer := await ads.heard()).error_detail is not None:
                assert answer.response_nonce != "n9"
            assert answer.version_info == "v9"
            assert served.limits() == ["edge.user 6/DAY"]
            assert served.client.refusal_wait_s == 0
            assert served.client.trouble == ()
    assert caplog.text.count("domain is missing") == 1


async def test_resources_of_another_type_or_malformed_are_refused() -> None:
    async with ads_server() as ads, subscribed(ads):
        await ads.heard()
        ads.publish(limits("edge", 1), type_url="type.googleapis.com/other")
        other = await ads.heard()
        ads.publish(raw=[b"\xff"])
        malformed = await ads.heard()
        ads.publish(limits("edge", 1), limits("edge", 2, name="again"))
        again = await ads.heard()
    for nack, said in ((other, TYPE_URL), (malformed, "malformed"), (again, "defined twice")):
        assert nack.error_detail is not None
        assert said in nack.error_detail.message
        assert nack.version_info == ""


async def test_the_last_good_limits_outlive_the_server_and_it_is_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "envoy_ratelimit")
    async with ads_server() as ads:
        ads.publish(limits("edge", 5))
        async with subscribed(ads) as served:
            await ads.heard()
            await ads.heard()
            ads.hang_up()
            again = await ads.heard()
            assert again.version_info == "v1"
            assert (await ads.heard()).response_nonce == "n1"
            assert served.limits() == ["edge.user 5/DAY"]
    assert "the server ended the stream; the limits that are known serve on" in caplog.text


async def test_a_server_that_comes_late_is_found() -> None:
    async with ads_server() as gone:
        port = gone.port
    served = Served(XdsServer(address=f"127.0.0.1:{port}"))
    running = asyncio.create_task(served.client.run())
    await until(lambda: bool(served.client.trouble))
    assert "UNAVAILABLE" in served.client.trouble[0]
    async with ads_server(port) as ads:
        ads.publish(limits("edge", 5))
        await asyncio.wait_for(served.client.first.wait(), 20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert served.limits() == ["edge.user 5/DAY"]


async def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    async with ads_server() as ads, subscribed(ads, ca=missing) as served:
        await until(lambda: bool(served.client.trouble))
        assert served.client.trouble == (f"xDS 127.0.0.1:{ads.port}: {missing}: No such file or directory",)


async def test_tls_needs_the_servers_certificate(tmp_path: Path) -> None:
    authority = Authority.make("xds test")
    pair = write_pair(authority, "localhost", tmp_path)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    keys = (pair.key.read_bytes(), pair.cert.read_bytes())
    async with ads_server(credentials=grpc.ssl_server_credentials([keys])) as ads:
        ads.publish(limits("edge", 5))
        async with subscribed(ads, ca=ca) as served:
            await asyncio.wait_for(served.client.first.wait(), 10)
        async with subscribed(ads) as plain:
            await until(lambda: bool(plain.client.trouble))
            assert not plain.client.first.is_set()
    assert served.limits() == ["edge.user 5/DAY"]
