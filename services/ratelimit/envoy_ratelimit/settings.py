"""The options of `envoy-ratelimit serve`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from envoy_sidecar.settings import AdminOption, ListenOption, ServerSettings, SettingsError

DEFAULT_ADMIN = "127.0.0.1:8080"
MEMORY = "memory:"

ConfigOption = Annotated[
    tuple[Path, ...],
    Parameter(
        consume_multiple=True,
        negative=(),
        help="Limit files in the reference's YAML, or folders of them; watched and read again when they change.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class RatelimitSettings(ServerSettings):
    """What every service has, where the limits are, and where the buckets live."""

    config: ConfigOption
    store: Annotated[
        str,
        Parameter(
            help="Where buckets live: memory:, redis://[USER:PASSWORD@]HOST:PORT/DB, rediss://… or unix:///SOCKET."
        ),
    ] = MEMORY
    store_timeout: Annotated[
        float,
        Parameter(
            validator=validators.Number(gt=0, lte=10),
            help="Seconds that Redis has for an answer; Envoy itself waits 0.02.",
        ),
    ] = 0.010
    on_store_failure: Annotated[
        Literal["allow", "deny"], Parameter(help="What a request gets that the store could not decide.")
    ] = "allow"
    listen: ListenOption = "127.0.0.1:8081"
    admin: AdminOption = DEFAULT_ADMIN

    def __post_init__(self) -> None:
        """Refuse combinations that cannot be served."""
        ServerSettings.__post_init__(self)
        if self.workers > 1 and self.store == MEMORY:
            raise SettingsError(
                "--workers would give each process buckets of its own, and so as many times the limit: "
                "give them one --store redis://…"
            )
