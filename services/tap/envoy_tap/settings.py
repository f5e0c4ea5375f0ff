"""The options of `envoy-tap serve`."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from cyclopts import Parameter, validators

from envoy_sidecar.settings import AdminOption, ListenOption, ServerSettings, SettingsError
from envoy_tap.slot.target import DEFAULT_CLUSTER, PathMatch, Target

DEFAULT_ADMIN = "127.0.0.1:9394"
_MAX_TARGET_SECONDS = 24 * 3600


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class TapSettings(ServerSettings):
    """What every service has, where exchanges are written, and the one target that is captured from the start."""

    data: Annotated[Path, Parameter(help="Folder for exchanges.jsonl; made if missing, for this user only.")]
    target_path: Annotated[
        str | None, Parameter(help="Capture requests whose path begins with this; the query is not compared.")
    ] = None
    target_method: Annotated[str | None, Parameter(help="Capture requests of this method only.")] = None
    target_authority: Annotated[str | None, Parameter(help="Capture requests to this host only.")] = None
    target_header: Annotated[
        str | None, Parameter(help="Capture requests with this header only, given as NAME=VALUE.")
    ] = None
    target_for: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=1, lte=_MAX_TARGET_SECONDS),
            help="Seconds after which capturing ends by itself, in the proxies too.",
        ),
    ] = 600
    cluster: Annotated[str, Parameter(help="Name of the cluster by which Envoy reaches this service.")] = (
        DEFAULT_CLUSTER
    )
    listen: ListenOption = "127.0.0.1:9393"
    admin: AdminOption = DEFAULT_ADMIN

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        ServerSettings.__post_init__(self)
        if self.workers > 1:
            raise SettingsError("--workers: tap writes one file and runs in one process")
        self.target(0)

    def target(self, now_s: float | None = None) -> Target | None:
        """Return what to capture from now on (unix seconds), or None when no condition was given."""
        if not (self.target_path or self.target_method or self.target_authority or self.target_header):
            return None
        header = None
        if self.target_header is not None:
            name, equals, value = self.target_header.partition("=")
            if not equals:
                raise SettingsError("--target-header is NAME=VALUE")
            header = (name.lower(), value)
        try:
            return Target(
                tap_id=uuid4().hex[:12],
                expires_at_s=int(time.time() if now_s is None else now_s) + self.target_for,
                method=self.target_method,
                path=PathMatch(self.target_path, is_prefix=True) if self.target_path else None,
                authority=self.target_authority,
                header=header,
                cluster_name=self.cluster,
            )
        except ValueError as error:
            raise SettingsError(f"--target-…: {error}") from None
