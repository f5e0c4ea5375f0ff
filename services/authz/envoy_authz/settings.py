"""The options of `envoy-authz serve`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from envoy_sidecar.settings import AdminOption, ListenOption, ServerSettings

DEFAULT_ADMIN = "127.0.0.1:9192"
PoliciesOption = Annotated[
    tuple[Path, ...],
    Parameter(
        consume_multiple=True,
        negative=(),
        help="AuthorizationPolicy files, or folders of them with all below; watched and read again when they change.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AuthzSettings(ServerSettings):
    """What every service has, and where the policies are."""

    policies: PoliciesOption
    listen: ListenOption = "127.0.0.1:9191"
    admin: AdminOption = DEFAULT_ADMIN
