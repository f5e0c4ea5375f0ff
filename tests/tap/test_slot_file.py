"""The slot as a file that a real Envoy watches: idle, capturing, idle again, and never for longer than its lease."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from envoy_demo import configs
from envoy_sidecar.settings import SettingsError
from envoy_tap.core.exchange import Node
from envoy_tap.core.node import Proxy
from envoy_tap.drivers.choice import builder
from envoy_tap.server import slot_file
from envoy_tap.settings import TapSettings
from envoy_tap.slot.file import FileSlot, SlotFile
from envoy_tap.slot.script import Setup
from envoy_tap.slot.slot import Slot
from tests.conformance.tap.checks import target
from tests.conformance.tap.rigs import SLOT, manager
from tests.tap.building import Clock, session
from tests.tap.proxied import RELOADS, Tapped, tapped

CALLS = "cluster.envoy_tap.upstream_rq_total"
BUILD = builder(Setup())
OF_FILE = Proxy(Node("slot-file", "edge"))


def from_file(path: Path) -> Callable[[configs.Config], None]:
    def change(config: configs.Config) -> None:
        (slot,) = (each for each in manager(config)["http_filters"] if each["name"] == SLOT)
        slot["config_discovery"]["config_source"] = {
            "resource_api_version": "V3",
            "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
        }

    return change


@asynccontextmanager
async def filed(folder: Path, lease_s: int = 60) -> AsyncIterator[tuple[Tapped, SlotFile]]:
    path = folder / "mounted" / "slot.json"
    path.parent.mkdir()
    slot = Slot()
    file = SlotFile(FileSlot(path, OF_FILE), slot, BUILD, lease_s=lease_s)
    file.write(())
    async with tapped(folder, change=from_file(path)) as at:
        at.slot = slot
        keeping = asyncio.create_task(file.keep())
        yield at, file
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - a file fires no event
            await asyncio.sleep(0.02)


async def test_a_proxy_follows_the_file(tmp_path: Path) -> None:
    async with filed(tmp_path) as (at, file):
        idle, before = file.version, at.reloads
        # One with a matcher and one without: the file has to say both in JSON.
        for number, predicate in enumerate(("path^=/orders", "all"), 1):
            at.slot.set(target(predicate))
            await asyncio.to_thread(at.envoy.until_stat, RELOADS, before + number)
            assert (await at.ask("POST /orders HTTP/1.1", body=b"question")).endswith(b"pong")
            found = await at.sink.next()
            assert (found.node, found.request and found.request.body) == (OF_FILE.node, b"question")
        at.slot.clear()
        await until(lambda: file.version == idle)
        await asyncio.to_thread(at.envoy.until_stat, RELOADS, before + 3)
        at.payloads.clear()
        assert (await at.ask()).endswith(b"pong")
        assert at.payloads == []


async def test_what_a_killed_service_leaves_behind_ends_with_its_lease(tmp_path: Path) -> None:
    async with filed(tmp_path, lease_s=3) as (at, file):

        async def is_tapped() -> bool:
            before = at.envoy.stat(CALLS)
            assert (await at.ask()).endswith(b"pong")
            return at.envoy.stat(CALLS) > before

        async with asyncio.timeout(60):
            while not await is_tapped():
                file.write([target()])
            # Nobody writes it again: the slot of `file.keep` has no session.
            while await is_tapped():  # noqa: ASYNC110 - silence fires no event
                await asyncio.sleep(0.1)


def script_of(path: Path) -> str:
    return json.dumps(json.loads(path.read_text("utf-8"))["resources"][0])


async def test_the_file_is_renewed_expires_and_is_idle_at_the_end(tmp_path: Path) -> None:
    clock = Clock()
    slot = Slot(clock)
    path = tmp_path / "slot.yaml"
    file = SlotFile(FileSlot(path, OF_FILE), slot, BUILD, lease_s=3, clock=clock)
    keeping = asyncio.create_task(file.keep())
    slot.set(session("tap-1", now_s=clock(), for_s=600))
    await until(lambda: file.tap_ids == ("tap-1",))
    assert f"expires_at = {int(clock()) + 3}," in script_of(path)
    clock.advance(1)
    await until(lambda: f"expires_at = {int(clock()) + 3}," in script_of(path))
    assert path.stat().st_mode & 0o777 == 0o644
    slot.set(session("tap-2", now_s=clock(), for_s=1))
    await until(lambda: f"expires_at = {int(clock()) + 1}," in script_of(path))
    clock.advance(2)
    slot.changed.fire()
    await until(lambda: file.tap_ids == ())
    slot.set(session("tap-3", now_s=clock(), for_s=600))
    await until(lambda: file.tap_ids == ("tap-3",))
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    assert "expires_at" not in script_of(path)
    assert [each.name for each in tmp_path.iterdir()] == ["slot.yaml"]  # noqa: ASYNC240


async def test_a_file_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    slot = Slot()
    folder = tmp_path / "gone"
    file = SlotFile(FileSlot(folder / "slot.json", OF_FILE), slot, BUILD, lease_s=3)
    slot.set(target())
    keeping = asyncio.create_task(file.keep())
    await until(lambda: "cannot be written: No such file" in file.problem)
    folder.mkdir()
    await until(lambda: file.problem == "" and bool(file.tap_ids))
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


@pytest.mark.parametrize(
    ("name", "says"), [("slot.pb", "write one of .json, .yaml"), ("none/slot.json", "No such file")]
)
def test_a_file_that_cannot_be_had_is_refused_at_the_start(tmp_path: Path, name: str, says: str) -> None:
    settings = TapSettings(data=tmp_path / "data", slot_file=tmp_path / name)
    with pytest.raises(SettingsError, match=says):
        slot_file(settings, Slot(), BUILD)


def test_the_idle_slot_is_exported_without_a_service() -> None:
    argv = [sys.executable, "-m", "envoy_tap", "export-slot", "--node-id", "edge-1", "--as", "file"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    exported: dict[str, Any] = json.loads(done.stdout)
    assert exported["resources"][0]["name"] == SLOT
    assert exported["version_info"]
