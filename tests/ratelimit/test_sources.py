"""The service with its sources of limits: files of which one is broken, and a control plane."""

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from grpc import StatusCode

from envoy_demo.ports import free_port
from envoy_demo.processes import Processes
from envoy_demo.valkey import Valkey
from envoy_ratelimit.observe.metrics import reference_stats
from envoy_ratelimit.server import RatelimitSidecar
from envoy_ratelimit.settings import RatelimitSettings
from envoy_ratelimit.wire_json import make_request, response_as_data
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.sidecar import PartlyTaken
from envoy_sidecar.transport.port import Call, Failure
from tests.ratelimit.ads import ads_server, limits
from tests.ratelimit.servers import start_server
from tests.runtime.serving import until

GOOD = "domain: {name}\ndescriptors:\n  - key: user\n    rate_limit: {{ unit: day, requests_per_unit: {allowed} }}\n"


def write(folder: Path, name: str, allowed: int | None) -> None:
    text = "domain: [" if allowed is None else GOOD.format(name=name, allowed=allowed)
    (folder / f"{name}.yaml").write_text(text, "utf-8")


def held(sidecar: RatelimitSidecar) -> list[str]:
    return [f"{rule.domain} {rule.rate}" for rule in sidecar.rules.rules]


def left(sidecar: RatelimitSidecar, domain: str) -> object:
    (answer,) = sidecar.decide([Call(make_request(domain, [[("user", "ann")]], hits=0))])
    assert isinstance(answer, bytes)
    statuses = response_as_data(answer)["statuses"]
    assert isinstance(statuses, list)
    return statuses[0].get("limitRemaining")


async def test_a_broken_file_at_the_start_is_left_out_and_said(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    write(tmp_path, "b", None)
    sidecar = RatelimitSidecar(RatelimitSettings(config=(tmp_path,)))
    assert held(sidecar) == ["a 1/DAY"]
    taken = await sidecar.start()
    assert taken is not None
    assert taken.what_holds == f"left out: {tmp_path}/b.yaml; the others hold"
    assert [finding.position.file for finding in taken.findings] == [f"{tmp_path}/b.yaml"]
    write(tmp_path, "b", 2)
    assert isinstance(sidecar.reload(), str)
    await sidecar.stop()
    assert held(sidecar) == ["a 1/DAY", "b 2/DAY"]


def test_a_file_that_breaks_holds_as_it_was_while_the_others_change(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    write(tmp_path, "b", 2)
    sidecar = RatelimitSidecar(RatelimitSettings(config=(tmp_path,)))
    write(tmp_path, "a", 5)
    write(tmp_path, "b", None)
    taken = sidecar.reload()
    assert isinstance(taken, PartlyTaken)
    assert taken.what_holds == f"as before: {tmp_path}/b.yaml; the others hold"
    assert [finding.position.file for finding in taken.findings] == [f"{tmp_path}/b.yaml"]
    assert held(sidecar) == ["a 5/DAY", "b 2/DAY"]
    shown = sidecar.describe()
    assert (shown["files_as_before"], shown["files_left_out"]) == ([f"{tmp_path}/b.yaml"], [])


def test_with_no_file_that_can_be_used_all_is_as_before(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    sidecar = RatelimitSidecar(RatelimitSettings(config=(tmp_path,)))
    write(tmp_path, "a", None)
    with pytest.raises(InvalidConfigurationError):
        sidecar.reload()
    assert held(sidecar) == ["a 1/DAY"]


def test_with_strict_config_one_broken_file_refuses_all(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    settings = RatelimitSettings(config=(tmp_path,), strict_config=True)
    sidecar = RatelimitSidecar(settings)
    write(tmp_path, "a", 5)
    write(tmp_path, "b", None)
    with pytest.raises(InvalidConfigurationError):
        sidecar.reload()
    assert held(sidecar) == ["a 1/DAY"]
    with pytest.raises(InvalidConfigurationError):
        RatelimitSidecar(settings)


def test_shadow_mode_and_the_default_algorithm_hold_for_all(tmp_path: Path) -> None:
    write(tmp_path, "a", 1)
    settings = RatelimitSettings(config=(tmp_path,), shadow_mode=True, default_algorithm="fixed_window")
    (rule,) = RatelimitSidecar(settings).rules.rules
    assert (rule.shadow_mode, rule.algorithm, rule.charge) == (True, "fixed_window", "always")
    settings = replace(settings, default_charge="each")
    (rule,) = RatelimitSidecar(settings).rules.rules
    assert rule.charge == "each"


async def test_limits_of_a_control_plane_are_there_before_it_serves_and_change_while_it_does() -> None:
    async with ads_server() as ads:
        ads.publish(limits("edge", 5))
        sidecar = RatelimitSidecar(RatelimitSettings(config_xds=f"127.0.0.1:{ads.port}"))
        assert not sidecar.is_serving
        await sidecar.start()
        try:
            await sidecar.until_configured()
            assert sidecar.is_serving
            assert left(sidecar, "edge") == 5
            assert sidecar.reload() == "limits come over xDS, whenever they change"
            ads.publish(limits("edge", 6))
            await until(lambda: left(sidecar, "edge") == 6)
            ads.publish(limits("edge", 7, key=""))
            await until(lambda: bool(sidecar.concerns()))
            assert "key must not be empty" in sidecar.concerns()[0]
            assert left(sidecar, "edge") == 6
            shown = sidecar.describe()["xds"]
            assert isinstance(shown, dict)
            assert (shown["version"], shown["connected"]) == ("v2", True)
        finally:
            await sidecar.drain()
            assert not sidecar.is_serving
            await sidecar.stop()


async def test_resources_of_one_domain_are_merged_where_that_is_wanted() -> None:
    async with ads_server() as ads:
        ads.publish(limits("edge", 5), limits("edge", 6, name="more", key="path"))
        address = f"127.0.0.1:{ads.port}"
        sidecar = RatelimitSidecar(RatelimitSettings(config_xds=address, merge_domains=True))
        await sidecar.start()
        try:
            await sidecar.until_configured()
            assert [rule.path for rule in sidecar.rules.rules] == ["user", "path"]
            ads.publish(limits("edge", 5), limits("edge", 6, name="more"))
            await until(lambda: bool(sidecar.concerns()))
            assert "'user' is in this domain at xds:edge:1:1 as well" in sidecar.concerns()[0]
            assert held(sidecar) == ["edge 5/DAY", "edge 6/DAY"]
        finally:
            await sidecar.stop()


@pytest.mark.parametrize("wait", [0.0, 0.05])
async def test_without_a_control_plane_requests_are_errors_after_the_wait_that_it_is_told_and_it_says_so(
    caplog: pytest.LogCaptureFixture, wait: float
) -> None:
    sidecar = RatelimitSidecar(RatelimitSettings(config_xds="127.0.0.1:1", config_xds_wait=wait))
    await sidecar.start()
    assert (sidecar.has_limits, sidecar.concerns()) == (False, ("no limits came over xDS yet",))
    async with asyncio.timeout(5):
        await sidecar.until_configured()
    said = "no limits came over xDS yet: until they do, every request gets UNAVAILABLE"
    assert said in caplog.text
    assert not sidecar.is_serving
    assert (
        sidecar.decide([Call(make_request("edge", []))] * 2)
        == [Failure(StatusCode.UNAVAILABLE, "no limits came over xDS yet")] * 2
    )
    await until(lambda: len(sidecar.concerns()) == 2)
    assert sidecar.concerns()[0] == said
    await sidecar.stop()


def test_without_a_store_local_buckets_hold_their_share(tmp_path: Path) -> None:
    write(tmp_path, "a", 4)
    store = f"redis://127.0.0.1:{free_port()}"
    settings = RatelimitSettings(
        config=(tmp_path,), store=store, store_timeout=0.05, on_store_failure="local", local_share=0.5
    )
    sidecar = RatelimitSidecar(settings)
    request = Call(make_request("a", [[("user", "ann")]]))
    answers = [sidecar.decide([request])[0] for _ in range(3)]
    codes = [response_as_data(answer)["overallCode"] for answer in answers if isinstance(answer, bytes)]
    assert codes == ["OK", "OK", "OVER_LIMIT"]
    asyncio.run(sidecar.stop())


@pytest.mark.parametrize("denials", [0.0, 1.0])
async def test_a_store_that_is_not_reached_is_said_before_any_request(
    tmp_path: Path, valkey: Valkey, denials: float
) -> None:
    write(tmp_path, "a", 4)
    away = f"127.0.0.1:{free_port()}"
    sidecar = RatelimitSidecar(
        RatelimitSettings(
            config=(tmp_path,), store=valkey.url, store_per_second=f"redis://{away}", store_denials=denials
        )
    )
    assert sidecar.concerns() == ()
    await sidecar.start()
    await until(lambda: bool(sidecar.concerns()))
    (concern,) = sidecar.concerns()
    assert concern.startswith(f"the bucket store is not reached; requests get 'allow' until it is: {away} ")
    await sidecar.stop()


async def test_why_a_store_fails_is_said_as_it_is_now(tmp_path: Path) -> None:
    write(tmp_path, "a", 4)
    port = free_port()
    away = f"redis://nobody:secret@127.0.0.1:{port}"
    sidecar = RatelimitSidecar(RatelimitSettings(config=(tmp_path,), store=away, store_denials=0))
    await sidecar.start()
    await until(lambda: "Connection refused" in "".join(sidecar.concerns()))
    await asyncio.to_thread(sidecar.decide, [Call(make_request("a", [[("user", "ann")]]))])
    assert sidecar.concerns()[0].endswith("Connection refused.")
    with Processes(tmp_path) as processes:
        await asyncio.to_thread(start_server, processes, port=port)
        await until(lambda: "; now: " in "".join(sidecar.concerns()))
    (concern,) = sidecar.concerns()
    assert "invalid username-password pair" in concern
    await sidecar.stop()


def test_refusals_that_are_only_remembered_are_told_apart(tmp_path: Path, valkey: Valkey) -> None:
    write(tmp_path, "remembered", 1)
    sidecar = RatelimitSidecar(RatelimitSettings(config=(tmp_path,), store=valkey.url, store_timeout=5))
    request = Call(make_request("remembered", [[("user", str(uuid4()))]]))
    for _ in range(4):
        sidecar.decide([request])
    hits = {labels[2]: count for labels, count in sidecar.observer.metrics.hits.counts.items()}
    assert hits == {"near_limit": 1, "over_limit": 1, "over_limit_with_local_cache": 2}
    stats = dict(reference_stats(sidecar.observer.metrics.hits.counts))
    assert stats["ratelimit.service.rate_limit.remembered.user.over_limit"] == 3
    asyncio.run(sidecar.stop())
