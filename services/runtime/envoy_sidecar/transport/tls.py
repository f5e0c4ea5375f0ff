"""Server certificates that may change on disk while the server runs."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from envoy_sidecar.transport.port import ListenError

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the server's certificate chain and key, and the CA that clients must prove (mTLS) if given."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class CertificateReloader:
    """Gives grpcio the certificates for each new handshake: those on disk, or the last good ones while they are broken.

    A pair that does not fit together (a rotation half done) is not used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        try:
            self._content = self._read()
        except (OSError, ssl.SSLError) as error:
            raise ListenError(f"TLS: {error}; --tls-cert and --tls-key must be a PEM pair") from None
        self._trouble = ""

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that ask `fetch` at each handshake; client certificates are demanded iff there is a CA."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            self.fetch,
            require_client_authentication=self._files.client_ca is not None,
        )

    def fetch(self) -> grpc.ServerCertificateConfiguration:
        """Return the configuration for the next handshake: new if the files have changed and fit together."""
        try:
            content = self._read()
        except (OSError, ssl.SSLError) as error:
            # Once, and not at every handshake until it is mended.
            if str(error) != self._trouble:
                self._trouble = str(error)
                LOG.warning("TLS: keeping the last good certificate: %s", error)
            return self._configuration()
        self._trouble = ""
        if content != self._content:
            self._content = content
            LOG.info("TLS: a new certificate is in use from %s", self._files.cert)
        return self._configuration()

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        content = self._content_on_disk()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The password of an encrypted key would otherwise be asked for on the terminal.
        context.load_cert_chain(self._files.cert, self._files.key, password="")
        if self._files.client_ca is not None:
            context.load_verify_locations(self._files.client_ca)
        # OpenSSL reads the files itself: what it found good must be what is used.
        if self._content_on_disk() != content:
            raise OSError("the files are being replaced just now")
        return content

    def _content_on_disk(self) -> tuple[bytes, bytes, bytes | None]:
        files = self._files
        client_ca = None if files.client_ca is None else files.client_ca.read_bytes()
        return files.cert.read_bytes(), files.key.read_bytes(), client_ca

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        cert, key, client_ca = self._content
        return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca)
