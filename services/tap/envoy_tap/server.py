"""The tap service as the runtime serves it: the slot by ECDS, exchanges in by StreamTaps and out to a file."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from envoy_sidecar.settings import SettingsError
from envoy_sidecar.transport.port import Service
from envoy_tap.collector import Collector
from envoy_tap.settings import TapSettings
from envoy_tap.sink import FILE_NAME, JsonLinesSink
from envoy_tap.slot.ecds import EcdsServer
from envoy_tap.slot.slot import Slot

LOG = logging.getLogger(__name__)

_WITHDRAWAL_S = 1.0


class TapSidecar:
    """A `Sidecar` that captures one target, given at the start. Raises SettingsError when the folder can't be used."""

    name = "tap"

    def __init__(self, settings: TapSettings) -> None:
        self._settings = settings
        self._slot = Slot()
        self._ecds = EcdsServer(self._slot)
        try:
            self._collector = Collector(JsonLinesSink(settings.data))
        except OSError as error:
            raise SettingsError(f"--data {settings.data}: {error.strerror or error}") from None
        self._running = AsyncExitStack()
        self.services: Sequence[Service] = (self._collector.service(), self._ecds.service())
        self.watched: Sequence[Path] = ()
        self.tallies = (self._collector.exchanges, self._collector.dropped, self._ecds.updates)

    def reload(self) -> str:
        """Do nothing: the target is an option, and options are read once."""
        return "tap has no configuration files; its target is set by options at the start"

    def describe(self) -> Mapping[str, object]:
        """Return the target, where exchanges go, and what each connected proxy said to its slot."""
        target = self._slot.target
        return {
            "exchanges": str(self._settings.data / FILE_NAME),
            "target": target
            and {
                "tap_id": target.tap_id,
                "expires_at": datetime.fromtimestamp(target.expires_at_s, UTC).isoformat(),
                "method": target.method,
                "path_prefix": target.path and target.path.value,
                "authority": target.authority,
                "header": target.header and target.header[0],
                "body_cap_bytes": target.body_cap_bytes,
                "redacted_headers": sorted(target.redacted_headers),
            },
            "nodes": [
                {
                    "id": node.node.id,
                    "cluster": node.node.cluster,
                    "sent_version": node.sent_version,
                    "acked_version": node.acked_version,
                    "nack": node.nack,
                }
                for node in self._ecds.nodes()
            ],
        }

    async def start(self) -> None:
        """Start to write, and offer the target to the proxies."""
        await self._running.enter_async_context(self._collector)
        target = self._settings.target()
        path = self._settings.data / FILE_NAME
        if target is None:
            LOG.info(
                "no target (see --target-path): proxies capture nothing; what they send goes to %s", path
            )
            return
        self._slot.set(target)
        LOG.info("target %s for %d s, exchanges go to %s", target.tap_id, self._settings.target_for, path)

    async def drain(self) -> None:
        """Withdraw the target from the proxies, which would otherwise keep it until its time to live ends."""
        self._slot.clear()
        await self._ecds.end(_WITHDRAWAL_S)

    async def stop(self) -> None:
        """Write what has been collected, and close the file."""
        await self._running.aclose()
