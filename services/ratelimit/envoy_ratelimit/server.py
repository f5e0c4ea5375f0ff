"""The ratelimit service as the runtime serves it: limits from files, buckets in a store, decisions by gRPC."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from envoy_ratelimit import wire
from envoy_ratelimit.config import load_rules
from envoy_ratelimit.core.limiter import FailurePolicy
from envoy_ratelimit.handler import RateLimitHandler
from envoy_ratelimit.settings import RatelimitSettings
from envoy_ratelimit.stores import masked_url, open_store
from envoy_sidecar.settings import SettingsError
from envoy_sidecar.transport.port import Service

LOG = logging.getLogger(__name__)


class RatelimitSidecar:
    """A `Sidecar` that decides by the limits in files.

    Raises InvalidConfigurationError when the limits can't be used, and SettingsError for a store that isn't one.
    """

    name = "ratelimit"

    def __init__(self, settings: RatelimitSettings) -> None:
        self._settings = settings
        self._loaded = load_rules(settings.config)
        try:
            self._store = open_store(settings.store, timeout_s=settings.store_timeout)
        except ValueError as error:
            raise SettingsError(f"--store: {error}") from None
        self._handler = RateLimitHandler(
            self._loaded.rules, self._store, on_store_failure=FailurePolicy(settings.on_store_failure)
        )
        self.services: Sequence[Service] = (Service(wire.SERVICE, unary={wire.METHOD: self._handler}),)
        self.watched = settings.config
        self.tallies = self._handler.tallies

    def reload(self) -> str:
        """Read the limits again and decide by them from the next batch on; see `Sidecar.reload`.

        A bucket keeps what is in it as long as its limit stays the same.
        """
        loaded = load_rules(self.watched)
        self._handler.swap(loaded.rules)
        self._loaded = loaded
        return self._announce()

    def describe(self) -> Mapping[str, object]:
        """Return the limits that hold now, the files they came from, and the store without its password."""
        return {
            "store": masked_url(self._settings.store),
            "on_store_failure": self._settings.on_store_failure,
            "limits": self._loaded.rules.describe(),
            "files": [str(file) for file in self._loaded.files],
            "warnings": [str(finding) for finding in self._loaded.warnings],
        }

    async def start(self) -> None:
        """Say what the start found; the store is reached when it is first needed."""
        LOG.info("%s; buckets in %s", self._announce(), masked_url(self._settings.store))

    async def drain(self) -> None:
        """Do nothing: no stream is served."""

    async def stop(self) -> None:
        """Let go of the store."""
        await asyncio.to_thread(self._store.close)

    def _announce(self) -> str:
        for finding in self._loaded.warnings:
            LOG.warning("%s", finding)
        rules = self._loaded.rules
        return f"limits: {len(rules.rules)}, domains: {len(rules.domains)}, files: {len(self._loaded.files)}"
