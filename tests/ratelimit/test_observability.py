"""The dashboard and the alert rules that are shipped: each metric and label in them is one that the service has."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from envoy_demo.ports import free_port
from envoy_demo.valkey import Valkey
from envoy_ratelimit import wire
from tests.observability import Samples, alerts_of, bare, expressions_of, hold, hold_form, samples_of
from tests.ratelimit.ads import AdsServer, ads_server, limits
from tests.ratelimit.asking import ratelimit

LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 1 }
  - key: shadow
    shadow_mode: true
    rate_limit: { unit: day, requests_per_unit: 1 }
  - key: roomy
    rate_limit: { unit: day, requests_per_unit: 9 }
"""


@contextmanager
def control_plane() -> Iterator[AdsServer]:
    """An ADS server on a loop of its own, that has sent good limits and then bad ones."""
    ads = AdsServer()
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with ads_server(ads=ads):
            ads.publish(limits("edge", 5))
            started.set()
            await ads.heard()
            await ads.heard()
            ads.publish(limits("", 5))
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield ads
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Samples:
    """What services say that saw everything: refusals, broken limits, no Redis, a control plane that errs."""
    folder = tmp_path_factory.mktemp("scrape")
    file = folder / "limits.yaml"
    file.write_text(LIMITS, "utf-8")
    texts = []
    with ratelimit(folder, "--config", str(file), "--metrics-max-rules", "2") as admin:
        for key in ("user", "user", "shadow", "shadow", "roomy", "nobody"):
            admin.ask("edge", {key: "ann"})
        with grpc.insecure_channel(admin.listen) as channel:
            method = f"/{wire.SERVICE}/{wire.METHOD}"
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            with pytest.raises(grpc.RpcError):
                ask(b"", timeout=10)
        file.write_text("domain: [", "utf-8")
        admin.service.process.until_logged("the old configuration serves on")
        texts.append(admin.get("/metrics").text)
    file.write_text(LIMITS, "utf-8")
    with ratelimit(folder, "--config", str(file), "--store", f"redis://127.0.0.1:{free_port()}") as admin:
        admin.ask("edge", {"user": "ann"})
        texts.append(admin.get("/metrics").text)
    with ratelimit(folder, "--config", str(file), "--store", valkey.url, "--store-timeout", "1") as admin:
        for _ in range(4):
            admin.ask("edge", {"user": "scraped"})
        texts.append(admin.get("/metrics").text)
    with control_plane() as ads, ratelimit(folder, "--config-xds", f"127.0.0.1:{ads.port}") as admin:
        admin.service.process.until_logged("refused; the limits before it serve on")
        texts.append(admin.get("/metrics").text)
        assert "xds:resources[0]" in admin.get("/readyz").text
    assert 'result="over_limit_with_local_cache"' in "".join(texts)
    return samples_of("".join(texts))


def test_there_are_expressions() -> None:
    assert len(expressions_of("ratelimit")) > 20


@pytest.mark.parametrize("expression", expressions_of("ratelimit"))
def test_each_metric_and_label_is_one_that_the_service_has(expression: str, scraped: Samples) -> None:
    hold(expression, scraped)


def test_what_an_alert_sees_increase_is_there_before_it_counts(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text(LIMITS, "utf-8")
    watched = set(re.findall(r"increase\((\w+)", " ".join(rule["expr"] for rule in alerts_of("ratelimit"))))
    with ratelimit(tmp_path, "--config", str(tmp_path)) as admin:
        begun = samples_of(admin.get("/metrics").text)
    assert len(watched) == 3
    assert watched - set(begun) == {"ratelimit_config_updates_total"}, (
        "which counts where limits come over xDS"
    )


def test_every_bare_metric_is_seen_by_that_test() -> None:
    for expression in expressions_of("ratelimit"):
        assert not re.search(r"\b(ratelimit|config|grpc|health)_", bare(expression)), expression


def test_alerts_say_what_to_do_and_the_dashboard_has_titles() -> None:
    hold_form("ratelimit")
