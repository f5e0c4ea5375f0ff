"""The options that every service has: one typed definition, read from flags and from environment variables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.choose import TransportName
from envoy_sidecar.transport.tls import TlsFiles

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

WORKER_PLACEHOLDER = "{worker}"


def _is_address(_type: Any, value: str) -> None:
    Address.parse(value.replace(WORKER_PLACEHOLDER, "0"))


ListenOption = Annotated[
    str,
    Parameter(
        validator=_is_address,
        help="Where Envoy calls by gRPC: HOST:PORT or unix:PATH. {worker} stands for the worker's number.",
    ),
]
AdminOption = Annotated[
    str, Parameter(validator=_is_address, help="HTTP for operators: /livez, /readyz, /metrics, /config.")
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
            help="Processes. Over TCP they share the port; Envoy spreads better over one address for each: {worker}.",
        ),
    ] = 1
    tls_cert: Annotated[Path | None, Parameter(help="PEM certificate chain; read again when it changes.")] = (
        None
    )
    tls_key: Annotated[Path | None, Parameter(help="PEM key of --tls-cert.")] = None
    tls_client_ca: Annotated[
        Path | None, Parameter(help="PEM CA that clients must prove to be signed by (mTLS).")
    ] = None
    drain_delay: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=600),
            help="Seconds to keep serving after health says NOT_SERVING, so that Envoy notices first.",
        ),
    ] = 1.0
    drain_time: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=600),
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
        """Refuse combinations that cannot be served; ValueError names the options."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        if self.workers > 1 and self.listen.startswith("unix:") and WORKER_PLACEHOLDER not in self.listen:
            raise ValueError(
                "--workers over a Unix socket needs one for each: --listen unix:/path/{worker}.sock"
            )

    @property
    def tls(self) -> TlsFiles | None:
        """The TLS files, or None for plaintext."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    def listen_address(self, worker: int = 0) -> Address:
        """Return where the worker with that number (from 0) listens."""
        return Address.parse(self.listen.replace(WORKER_PLACEHOLDER, str(worker)))
