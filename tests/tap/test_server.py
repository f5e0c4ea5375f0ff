"""The service put together: its command line, its target, what it shows."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envoy_sidecar import cli
from envoy_sidecar.settings import SettingsError
from envoy_sidecar.transport.port import Peer
from envoy_tap.cli import app
from envoy_tap.core.events import Side
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.predicate import parse
from envoy_tap.server import TapSidecar
from envoy_tap.settings import TapSettings
from tests.tap.building import REQUEST, RESPONSE, half, session


def test_without_a_condition_there_is_no_target(tmp_path: Path) -> None:
    assert TapSettings(data=tmp_path, target_for=5).session() is None


def test_the_options_become_one_target_that_expires(tmp_path: Path) -> None:
    settings = TapSettings(
        data=tmp_path,
        target_path="/orders",
        target_method="POST",
        target_authority="shop.example",
        target_header="X-User=alice=1",
        target_for=60,
        cluster="elsewhere",
    )
    session = settings.session(now_s=1000)
    assert session is not None
    wanted = 'method=POST and authority=shop.example and path^=/orders and header[x-user]="alice=1"'
    assert session.predicate == parse(wanted)
    assert session.expires_at_s == 1060


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target-header", "x-user"], "NAME=VALUE"),
        (["--target-header", "=alice"], "not a header name"),
        (["--target-for", "0"], "--target-for"),
        (["--workers", "2"], "--workers"),
        (["--store", "redis://127.0.0.1:1"], "--key-file"),
        (["--store", "mongo://x"], "--store"),
        (["--keep-for", "0"], "--keep-for"),
    ],
)
def test_options_that_cannot_be_served_are_named(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["serve", "--data", str(tmp_path), *options])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(SettingsError, match=f"--data {tmp_path}/file/below"):
        TapSidecar(TapSettings(data=tmp_path / "file" / "below"))


async def test_config_shows_the_target_but_not_the_header_value(tmp_path: Path) -> None:
    sidecar = TapSidecar(TapSettings(data=tmp_path, target_header="x-token=hidden-value"))
    await sidecar.start()
    try:
        shown = sidecar.describe()
    finally:
        await sidecar.stop()
    assert isinstance(shown["sessions"], list)
    assert len(shown["sessions"]) == 1
    assert "command line" not in str(shown), "who has no token learns neither who nor why"
    assert "hidden-value" not in str(shown)


async def test_the_service_ends_in_its_drain_time_whatever_waits_to_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = TapSidecar(TapSettings(data=tmp_path, drain_delay=0, drain_time=0))
    entered, released = threading.Event(), threading.Event()
    redacted = sidecar.registry.redacted

    def slow(exchange: Exchange) -> Exchange:
        entered.set()
        assert released.wait(30)
        return redacted(exchange)

    async def release() -> None:
        # The first exchange takes until after the time is up.
        for _ in range(100):
            await asyncio.sleep(0)
        released.set()

    async def sent(side: Side, trace_id: int) -> AsyncIterator[bytes]:
        for payload in half(side, REQUEST if side is Side.REQUEST else RESPONSE, trace_id=trace_id):
            yield payload

    monkeypatch.setattr(sidecar.registry, "redacted", slow)
    taps = sidecar.services[0].streams["StreamTaps"]
    await sidecar.start()
    progress = await sidecar.registry.begin(session("tap-1", now_s=time.time()))
    for trace_id in range(5):
        for side in Side:
            assert [_ async for _ in taps(sent(side, trace_id), Peer("ipv4:127.0.0.1:1"))] == [b""]
        assert await asyncio.to_thread(entered.wait, 30)
    await sidecar.drain()
    releasing = asyncio.create_task(release())
    await sidecar.stop()
    await releasing
    counts = progress.counts
    assert (counts["seen"], counts["captured"], counts["dropped"]) == (5, 1, 4)
