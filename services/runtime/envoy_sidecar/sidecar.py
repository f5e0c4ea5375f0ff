"""What a service gives the runtime so that it can be served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from envoy_sidecar.config.findings import Finding
from envoy_sidecar.telemetry.instruments import Instrument
from envoy_sidecar.transport.port import Service


@dataclass(frozen=True, slots=True)
class PartlyTaken:
    """What a start or reload comes to that took a part of the configuration: `what_holds` says which, `findings` why not all."""

    what_holds: str
    findings: Sequence[Finding]


class Sidecar(Protocol):
    """One service, ready to be served: its gRPC methods, its configuration and what it counts."""

    @property
    def name(self) -> str:
        """`authz`, `ratelimit` or `tap`."""

    @property
    def services(self) -> Sequence[Service]:
        """The gRPC services it offers."""

    @property
    def watched(self) -> Sequence[Path]:
        """The configuration files and folders whose change makes the runtime call `reload`."""

    @property
    def tallies(self) -> Sequence[Instrument]:
        """The counters, histograms and gauges to export."""

    def reload(self) -> str | PartlyTaken:
        """Read the configuration again and swap it in atomically; return a summary for the log (`3 policies`).

        A service whose files hold one by one may take those that can be used, and say so by PartlyTaken. Called off the
        event loop, never twice at once. Raises InvalidConfigurationError, after which the old configuration serves on.
        """

    def describe(self) -> Mapping[str, object]:
        """Return the effective configuration for `/config`, as JSON values, without secrets."""

    def concerns(self) -> Sequence[str]:
        """Return what is not as it should be although it serves, a line each, for `/readyz`; without secrets."""

    async def start(self) -> PartlyTaken | None:
        """Start what runs beside the requests; called on the event loop before the transport serves.

        Says what holds if only a part of the configuration does; see `reload`.
        """

    async def until_configured(self) -> None:
        """Return once there is a configuration to serve by; awaited after the start, and cancelled if it is to stop first."""

    async def drain(self) -> None:
        """End the streams that would not end by themselves; called when health says NOT_SERVING, while calls go on."""

    async def stop(self) -> None:
        """Stop it and flush; called after the transport has stopped."""
