"""The slot as a file, for a fleet without a control plane: Envoy watches its folder (`path_config_source`)."""

import asyncio
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig

from envoy_tap.core.node import Proxy
from envoy_tap.core.session import Session
from envoy_tap.slot.slot import Slot
from envoy_tap.slot.subscription import TYPE_URL, ResourceBuilder, SlotError

SUFFIXES = (".json", ".yaml", ".yml")
"""Envoy reads a file by its suffix; what is written is JSON, which is YAML, too."""

DEFAULT_NAME = "envoy_tap_slot"
DEFAULT_LEASE_S = 60
_MODE = 0o644
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileSlot:
    """Where the file is, what the filter is called, and for which proxy it is made."""

    path: Path
    proxy: Proxy
    name: str = DEFAULT_NAME


class SlotFile:
    """Keeps the file of *at* what *slot* wants of it.

    A file has no time to live. So a script in it ends by itself *lease_s* seconds (3 or more) after it was written, and is
    written again every third of it: a service that was killed leaves nothing behind that still captures. *clock* gives
    unix seconds.
    """

    def __init__(
        self,
        at: FileSlot,
        slot: Slot,
        build: ResourceBuilder,
        *,
        lease_s: int = DEFAULT_LEASE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.problem = ""
        self.version = ""
        self.tap_ids: tuple[str, ...] = ()
        self.at = at
        self._slot = slot
        self._build = build
        self._lease_s = lease_s
        self._clock = clock
        self._writing = threading.Lock()
        self._is_over = False

    async def keep(self) -> None:
        """Write the file at each change until cancelled; then once more, idle."""
        changed = asyncio.Event()
        try:
            with self._slot.changed.listening(changed.set):
                while True:
                    changed.clear()
                    sessions = self._slot.sessions_for(self.at.proxy)
                    await self._try_to_write(sessions)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._wake_in_s(sessions)):
                            await changed.wait()
        finally:
            # A write that is still under way in its thread must not have the last word.
            self._is_over = True
            self.write(())

    def write(self, sessions: Sequence[Session]) -> None:
        """Replace the file at once and whole; raises OSError if it cannot be."""
        with self._writing:
            self._write(() if self._is_over else sessions)

    def _write(self, sessions: Sequence[Session]) -> None:
        until_s = int(self._clock()) + self._lease_s
        leased = [replace(each, expires_at_s=min(each.expires_at_s, until_s)) for each in sessions]
        try:
            made, problem = self._build(self.at.name, leased, self.at.proxy), ""
        except SlotError as error:
            made, problem = self._build(self.at.name, (), self.at.proxy), str(error)
        text = json.dumps(response(made), indent=1)
        _replace(self.at.path, text)
        self.tap_ids = tuple(each.id for each in sessions)
        self.version, self.problem = version(made), problem

    async def _try_to_write(self, sessions: Sequence[Session]) -> None:
        try:
            await asyncio.to_thread(self.write, sessions)
        except OSError as error:
            self.problem = f"{self.at.path} cannot be written: {error.strerror or error}"
            LOG.error("%s", self.problem)

    def _wake_in_s(self, sessions: Sequence[Session]) -> float | None:
        if not sessions:
            # What could not be written is tried again.
            return 1.0 if self.problem else None
        first_end_s = min(session.expires_at_s for session in sessions) - self._clock()
        return max(0.0, min(first_end_s, self._lease_s / 3))


def response(resource: TypedExtensionConfig) -> dict[str, Any]:
    """Return *resource* as a DiscoveryResponse in JSON, which is what Envoy reads from a file."""
    packed = {"@type": TYPE_URL, **resource.to_dict()}
    return {"version_info": version(resource), "type_url": TYPE_URL, "resources": [packed]}


def version(resource: TypedExtensionConfig) -> str:
    """Return the version of what *resource* holds."""
    return hashlib.sha256(bytes(resource)).hexdigest()[:16]


def _replace(path: Path, text: str) -> None:
    # In the same folder: only there a rename is atomic, and only then Envoy's watch of it sees a move.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
