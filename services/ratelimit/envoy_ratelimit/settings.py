"""The options of `envoy-ratelimit serve`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from envoy_ratelimit.options import ObservedSettings
from envoy_ratelimit.plans import MAX_REMEMBERED
from envoy_ratelimit.stores import DEFAULT_DENIALS_S, DEFAULT_TIMEOUT_S
from envoy_ratelimit.stores.names import Spread
from envoy_sidecar.settings import AdminOption, ListenOption, SettingsError

DEFAULT_ADMIN = "127.0.0.1:8080"
MEMORY = "memory:"


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class RatelimitSettings(ObservedSettings):
    """What every service has, where limits come from, what is seen of them, and where the buckets live."""

    store: Annotated[
        str,
        Parameter(
            help="Where buckets live: memory:, redis://[USER:PASSWORD@]HOST:PORT/DB, unix:///SOCKET, "
            "redis+sentinel://HOST:PORT,…/SERVICE/DB or redis+cluster://HOST:PORT,…; rediss… for TLS."
        ),
    ] = MEMORY
    store_per_second: Annotated[
        str,
        Parameter(
            help="A second store, for limits whose buckets are as new again within a second; as --store, not memory:."
        ),
    ] = ""
    store_timeout: Annotated[
        float,
        Parameter(
            validator=validators.Number(gt=0, lte=10),
            help="Seconds that a batch waits for Redis in all; Envoy itself waits 0.02.",
        ),
    ] = DEFAULT_TIMEOUT_S
    store_key_prefix: Annotated[
        str,
        Parameter(help="Begins the name of every bucket; on a cluster, a {tag} in it puts all in one slot."),
    ] = ""
    store_spread: Annotated[
        Spread,
        Parameter(
            help="On a cluster: domain keeps a domain's buckets in one slot, so that each request is decided "
            "atomically; bucket spreads them over all nodes."
        ),
    ] = "domain"
    store_denials: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=60),
            help="Seconds that a refusal is remembered and repeated without asking Redis; 0 for never.",
        ),
    ] = DEFAULT_DENIALS_S
    on_store_failure: Annotated[
        Literal["allow", "deny", "local"],
        Parameter(
            help="What a request gets that the store could not decide; local: what buckets in here say."
        ),
    ] = "allow"
    local_share: Annotated[
        float,
        Parameter(
            validator=validators.Number(gt=0, lte=1),
            help="The share of each limit that those local buckets hold: one by the number of replicas.",
        ),
    ] = 1.0
    remember_requests: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=0, lte=1_000_000),
            help="So many requests are known by their bytes and not read again, about 2 KB each; 0 for none.",
        ),
    ] = MAX_REMEMBERED
    listen: ListenOption = "127.0.0.1:8081"
    admin: AdminOption = DEFAULT_ADMIN

    def __post_init__(self) -> None:
        """Refuse combinations that cannot be served."""
        ObservedSettings.__post_init__(self)
        if self.workers > 1 and self.store == MEMORY:
            raise SettingsError(
                "--workers would give each process buckets of its own, and so as many times the limit: "
                "give them one --store redis://…"
            )
