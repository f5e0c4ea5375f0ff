"""The options that every service has: one typed definition, read from flags and from environment variables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token, validators

from envoy_sidecar.telemetry.logs import LogFormat, LogLevel
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.choose import TransportName
from envoy_sidecar.transport.port import DEFAULT_SOCKET_MODE
from envoy_sidecar.transport.tls import TlsFiles

WORKER_PLACEHOLDER = "{worker}"

_MAX_SECONDS = 600


class SettingsError(Exception):
    """Options that are right one by one but cannot be served together; the message names them."""


def _is_listen_address(_type: Any, value: str) -> None:
    Address.parse(value.replace(WORKER_PLACEHOLDER, "0"))


def _is_admin_address(_type: Any, value: str) -> None:
    Address.parse(value)


def _is_seconds(_type: Any, value: float) -> None:
    if not 0 <= value <= _MAX_SECONDS:
        raise ValueError(f"{value:g} is not a number of seconds from 0 to {_MAX_SECONDS}")


def _is_mode(_type: Any, value: str) -> None:
    if re.fullmatch("0?[0-7]{3}", value) is None:
        raise ValueError(f"{value!r} is not a mode: three octal digits are needed, as in 660")


def _paths(_type: Any, tokens: Sequence[Token]) -> tuple[Path, ...]:
    # An unset variable on the command line must not quietly stand for nothing, nor for the working directory.
    if not all(token.value for token in tokens):
        raise ValueError("an empty path; write . for this folder")
    return tuple(Path(token.value) for token in tokens)


def _is_some(_type: Any, paths: tuple[Path, ...]) -> None:
    if not paths:
        raise ValueError("name at least one file or folder")


def source_paths(what: str) -> Parameter:
    """Return the parameter of an option that names configuration files and folders; *what* is its help."""
    return Parameter(consume_multiple=True, negative=(), converter=_paths, validator=_is_some, help=what)


ListenOption = Annotated[
    str,
    Parameter(
        validator=_is_listen_address,
        help="Where Envoy calls by gRPC: HOST:PORT or unix:PATH. {worker} stands for the worker's number.",
    ),
]
AdminOption = Annotated[
    str,
    Parameter(validator=_is_admin_address, help="HTTP for operators: /livez, /readyz, /metrics, /config."),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The options of `serve` that all services share; each service adds its own and its default addresses."""

    listen: ListenOption
    admin: AdminOption
    transport: Annotated[
        TransportName,
        Parameter(help="auto takes native (the fastest) where it can serve what was asked, else grpcio."),
    ] = "auto"
    workers: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=1, lte=256),
            help="Processes; none sees what another remembers. Over TCP they share the port; Envoy spreads better over "
            "one address for each: {worker}.",
        ),
    ] = 1
    tls_cert: Annotated[Path | None, Parameter(help="PEM certificate chain; read again when it changes.")] = (
        None
    )
    tls_key: Annotated[Path | None, Parameter(help="PEM key of --tls-cert.")] = None
    tls_client_ca: Annotated[
        Path | None, Parameter(help="PEM CA that clients must prove to be signed by (mTLS).")
    ] = None
    socket_mode: Annotated[
        str,
        Parameter(
            validator=_is_mode,
            help="Permissions of the Unix socket in --listen, in octal; who may write to it may call.",
        ),
    ] = f"{DEFAULT_SOCKET_MODE:04o}"
    drain_delay: Annotated[
        float,
        Parameter(
            validator=_is_seconds,
            help="Seconds to keep serving after health says NOT_SERVING, so that Envoy notices first.",
        ),
    ] = 1.0
    drain_time: Annotated[
        float,
        Parameter(
            validator=_is_seconds,
            help="Seconds within which calls in flight finish after that; then the process exits.",
        ),
    ] = 10.0
    log_level: Annotated[LogLevel, Parameter(help="The least severe record that is logged, on stderr.")] = (
        "info"
    )
    log_format: Annotated[
        LogFormat, Parameter(help="text for people, json (one object a line) for machines.")
    ] = "text"

    def __post_init__(self) -> None:
        """Refuse combinations that cannot be served; SettingsError names the options."""
        if self.listen == self.admin and (self.admin_address.is_unix or self.admin_address.port):
            raise SettingsError(f"--listen and --admin are both {self.listen}: give each its own address")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise SettingsError("--tls-client-ca needs --tls-cert and --tls-key")
        if self.workers > 1 and self.listen.startswith("unix:") and WORKER_PLACEHOLDER not in self.listen:
            raise SettingsError(
                "--workers over a Unix socket needs one for each: --listen unix:/path/{worker}.sock"
            )
        try:
            addresses = [self.listen_address(worker) for worker in range(self.workers)]
        except ValueError as error:
            raise SettingsError(f"--listen with {self.workers} workers: {error}") from None
        if self.workers > 1 and not addresses[0].is_unix and addresses[0].port == 0:
            raise SettingsError("--workers needs a port in --listen: with port 0 each would pick another one")

    @property
    def tls(self) -> TlsFiles | None:
        """The TLS files, or None for plaintext."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    @property
    def admin_address(self) -> Address:
        """Where the admin server listens."""
        return Address.parse(self.admin)

    @property
    def socket_permissions(self) -> int:
        """`socket_mode` as a number."""
        return int(self.socket_mode, 8)

    @property
    def workers_share_port(self) -> bool:
        """Whether several workers listen on one and the same address."""
        return self.workers > 1 and WORKER_PLACEHOLDER not in self.listen

    def listen_address(self, worker: int = 0) -> Address:
        """Return where the worker with that number (from 0) listens."""
        return Address.parse(self.listen.replace(WORKER_PLACEHOLDER, str(worker)))
