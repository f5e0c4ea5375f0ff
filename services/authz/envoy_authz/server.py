"""The authz service as the runtime serves it: policies from files, checks by gRPC."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from envoy_authz.config import load_policies
from envoy_authz.core import PolicySet
from envoy_authz.handler import Authorizer
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Service

LOG = logging.getLogger(__name__)


class AuthzSidecar:
    """A `Sidecar` that decides by the policies in *paths* (files, or folders with all below them).

    Raises InvalidConfigurationError when they can't be used.
    """

    name = "authz"

    def __init__(self, paths: Sequence[Path]) -> None:
        self._loaded = load_policies(paths)
        self._authorizer = Authorizer(PolicySet(self._loaded.policies))
        self.services: Sequence[Service] = (self._authorizer.service(),)
        self.watched = paths
        self.tallies: Sequence[Tally] = (self._authorizer.decisions,)

    def reload(self) -> str:
        """Read the policies again and decide by them from the next batch on; see `Sidecar.reload`."""
        loaded = load_policies(self.watched)
        self._authorizer.swap(PolicySet(loaded.policies))
        self._loaded = loaded
        return self._announce()

    def describe(self) -> Mapping[str, object]:
        """Return the policies that decide now, the files they came from, and what deserves a second look."""
        return {
            "default_action": self._authorizer.policies.default_action.value,
            "policies": [
                {"name": policy.full_name, "action": policy.action.value, "rules": len(policy.rules)}
                for policy in self._loaded.policies
            ],
            "files": [str(file) for file in self._loaded.files],
            "warnings": [str(finding) for finding in self._loaded.warnings],
        }

    async def start(self) -> None:
        """Say what the start found; nothing runs beside the requests."""
        LOG.info("%s", self._announce())

    async def drain(self) -> None:
        """Do nothing: no stream is served."""

    async def stop(self) -> None:
        """Do nothing: nothing is held open."""

    def _announce(self) -> str:
        loaded = self._loaded
        for finding in loaded.warnings:
            LOG.warning("%s", finding)
        return f"policies: {len(loaded.policies)}, files: {len(loaded.files)}"
