"""Asking a running service over gRPC: where it listens, what it wants of its callers, and why it does not answer."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
from cyclopts import Parameter

from envoy_sidecar.settings import ListenOption, SettingsError

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_CLOSED = ("Socket closed", "Connection reset", "Broken pipe")
_HANDSHAKES = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not one that --tls-ca vouches for"),
    ("Hostname Verification", "its certificate is for another name; say by --tls-server-name which"),
    ("WRONG_VERSION_NUMBER", "it has no TLS there: leave out --tls-ca"),
)
"""What the library says of a handshake that failed, and what that means."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Where the service listens, which has its default in a class of its own, and what it asks of its callers."""

    listen: ListenOption
    tls_ca: Annotated[Path | None, Parameter(help="PEM CA of the service; implies TLS.")] = None
    tls_cert: Annotated[Path | None, Parameter(help="PEM certificate to show, for mTLS.")] = None
    tls_key: Annotated[Path | None, Parameter(help="PEM key of --tls-cert.")] = None
    tls_server_name: Annotated[
        str, Parameter(help="What the service's certificate must say instead of the host in --listen.")
    ] = ""

    def channel(self) -> grpc.Channel:
        """Return a channel to the service. Raises SettingsError for files that cannot be used."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key go together")
        if self.tls_ca is None:
            for option, given in (("cert", self.tls_cert), ("server-name", self.tls_server_name)):
                if given:
                    raise SettingsError(f"--tls-{option} needs --tls-ca: without it there is no TLS")
            return grpc.insecure_channel(self.listen)
        ca = _read("--tls-ca", self.tls_ca)
        # gRPC would write lines of C++ source to stderr, and say that it cannot connect.
        if _CERTIFICATE not in ca:
            raise SettingsError(
                f"--tls-ca {self.tls_ca}: there is no certificate in it; give the PEM file of the CA"
            )
        credentials = grpc.ssl_channel_credentials(ca, *self._pair())
        name = self.tls_server_name
        return grpc.secure_channel(
            self.listen, credentials, [("grpc.ssl_target_name_override", name)] if name else None
        )

    def why(self, error: grpc.RpcError) -> str:
        """Return the status of a call that failed, what it says, and what may be wrong with the options."""
        code, details = getattr(error, "code", None), getattr(error, "details", None)
        if not code or not details:
            return str(error)  # the library's own text has its source lines
        text = f"{code().name}: {details()}"
        hint = self._hint(text) if code() is grpc.StatusCode.UNAVAILABLE else ""
        return f"{text}\n{hint}" if hint else text

    def _hint(self, text: str) -> str:
        if any(closed in text for closed in _CLOSED):
            if self.tls_ca is None:
                return "if it has TLS (--tls-cert of `serve`), give its CA: --tls-ca"
            if self.tls_cert is None:
                return "if it asks for certificates (--tls-client-ca of `serve`), give one: --tls-cert and --tls-key"
            return "it may not take this --tls-cert: its --tls-client-ca must vouch for it"
        return next((meaning for mark, meaning in _HANDSHAKES if mark in text), "")

    def _pair(self) -> tuple[bytes | None, bytes | None]:
        if self.tls_cert is None or self.tls_key is None:
            return None, None
        key, cert = _read("--tls-key", self.tls_key), _read("--tls-cert", self.tls_cert)
        try:
            # The password of an encrypted key would otherwise be asked for on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.tls_cert, self.tls_key, password="")
        except ssl.SSLError as error:
            raise SettingsError(f"--tls-cert and --tls-key are no PEM pair: {error}") from None
        return key, cert


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{option} {path}: {error.strerror or error}") from None
