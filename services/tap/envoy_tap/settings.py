"""The options of `envoy-tap serve`."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from envoy_sidecar.settings import AdminOption, ListenOption, ServerSettings, SettingsError
from envoy_tap.core.predicate import Condition, Field, Op, all_of, printed
from envoy_tap.core.session import MAXIMA, Session, SessionError
from envoy_tap.core.spec import requested
from envoy_tap.registry import COMMAND_LINE
from envoy_tap.slot.script import DEFAULT_CLUSTER, DEFAULT_TTL_S
from envoy_tap.storage.port import EMBEDDED
from envoy_tap.storage.retention import Retention

DEFAULT_ADMIN = "127.0.0.1:9394"
_SHARED = ("redis", "rediss", "unix")
_MAX_TARGET_SECONDS = MAXIMA.duration_s
# A target of the command line ends by its time alone.
_GENEROUS = {
    "exchanges": MAXIMA.exchanges,
    "bytes": MAXIMA.bytes,
    "rate_per_s": MAXIMA.rate_per_s,
}


def _is_store(_type: Any, value: str) -> None:
    if value != EMBEDDED and value.partition("://")[0] not in _SHARED:
        raise ValueError(f"write {EMBEDDED}, or one of {', '.join(f'{each}://…' for each in _SHARED)}")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class TapSettings(ServerSettings):
    """What every service has, where sessions are kept, and the one target that is captured from the start."""

    data: Annotated[
        Path,
        Parameter(help="Folder for sessions and what they capture; made if missing, for this user only."),
    ]
    key_file: Annotated[
        Path | None,
        Parameter(
            help="Key that encrypts what is stored, 32 bytes in base64; by default DATA/tap.key, made if missing."
        ),
    ] = None
    store: Annotated[
        str,
        Parameter(
            validator=_is_store,
            help="embedded (SQLite in DATA), or redis://…, rediss://… or unix://… to share sessions among replicas.",
        ),
    ] = EMBEDDED
    keep_for: Annotated[
        float,
        Parameter(
            validator=validators.Number(gt=0, lte=366),
            help="Days after its end for which a session and what it captured are kept.",
        ),
    ] = 7.0
    max_stored_bytes: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=1 << 20),
            help="How much all sessions may take; beyond, those that ended first are deleted.",
        ),
    ] = 4 << 30
    policy: Annotated[
        Path | None,
        Parameter(help="YAML of what can never be captured; read again when it changes."),
    ] = None
    tokens: Annotated[
        Path | None,
        Parameter(
            help="YAML of who may use the session API; this or --jwt is needed where --admin is not loopback."
        ),
    ] = None
    jwt: Annotated[
        Path | None, Parameter(help="YAML of issuers whose JWTs let people use the session API.")
    ] = None
    rules: Annotated[
        Path | None, Parameter(help="YAML of which team may tap what, and who must approve it.")
    ] = None
    descriptors: Annotated[
        tuple[Path, ...],
        Parameter(
            negative=(),
            help="Descriptor set of protoc, by which gRPC messages are shown by name; once for each.",
        ),
    ] = ()
    replay_to: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            help="URL to which the API may send captured requests again; once for each. None: it sends nothing.",
        ),
    ] = ()
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
    slot_ttl: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=1, lte=3600),
            help="Seconds after which a proxy that lost this service stops capturing.",
        ),
    ] = DEFAULT_TTL_S
    slot_file: Annotated[
        Path | None,
        Parameter(
            help="Keep the slot in this file, too (.json or .yaml), for proxies without a control plane."
        ),
    ] = None
    slot_file_node: Annotated[
        str,
        Parameter(help="node.id/node.cluster that what these proxies send is of; sessions find them by it."),
    ] = "slot-file/"
    slot_name: Annotated[str, Parameter(help="Name of the slot's filter in those proxies.")] = (
        "envoy_tap_slot"
    )
    listen: ListenOption = "127.0.0.1:9393"
    admin: AdminOption = DEFAULT_ADMIN

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        ServerSettings.__post_init__(self)
        if self.workers > 1:
            raise SettingsError("--workers: tap keeps its sessions in one process")
        if self.store != EMBEDDED and self.key_file is None:
            raise SettingsError("--store for replicas needs --key-file, the same one for each of them")
        self.session(0)

    @property
    def retention(self) -> Retention:
        """What is kept, and how long."""
        return Retention(self.keep_for * 24 * 3600, self.max_stored_bytes)

    def session(
        self, now_s: float | None = None, *, never_headers: frozenset[str] = frozenset()
    ) -> Session | None:
        """Return the session that begins with the service (at unix seconds), or None when no condition was given.

        SettingsError is raised for what no session can have, as a condition on *never_headers*.
        """
        text = {"method": self.target_method, "authority": self.target_authority}
        conditions = [
            Condition(Field(name), Op.EQUALS, value) for name, value in text.items() if value is not None
        ]
        if self.target_path is not None:
            conditions.append(Condition(Field("path"), Op.BEGINS, self.target_path))
        if self.target_header is not None:
            name, equals, value = self.target_header.partition("=")
            if not equals:
                raise SettingsError("--target-header is NAME=VALUE")
            conditions.append(Condition(Field("header", name), Op.EQUALS, value))
        if not conditions:
            return None
        started_s = time.time() if now_s is None else now_s
        asked = {
            "why": "given by --target-… at the start",
            "predicate": printed(all_of(*conditions)),
            "limits": {"duration_s": self.target_for, **_GENEROUS},
        }
        try:
            return requested(
                asked,
                session_id=secrets.token_hex(6),
                who=COMMAND_LINE,
                now_s=started_s,
                never_headers=never_headers,
            )
        except SessionError as error:
            raise SettingsError(f"--target-…: {error.message}; {error.hint}") from None
