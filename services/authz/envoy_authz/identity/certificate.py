"""The peer's certificate as Envoy hands it over (`include_peer_certificate`): URL-encoded PEM (X509-SVID section 5).

Envoy has verified its chain, if its TLS context says so; what is checked here is what Envoy does not look at.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID

from envoy_authz.identity.spiffe import InvalidSpiffeIdError, SpiffeId, parse_spiffe_id

MAX_CERTIFICATE_LENGTH = 65_536
"""How long a URL-encoded certificate may be, in characters."""

_PEM = re.compile(rb"\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*")
_CACHED = 1024


class CertificateError(ValueError):
    """A certificate that proves nothing; the message says why, without anything of the certificate."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A certificate: `thumbprint` is the SHA-256 of its DER form (RFC 8705 section 3.1).

    `identity` is None and `problem` says why when it is no X.509-SVID. Times are in unix seconds.
    """

    thumbprint: bytes
    not_before_s: float
    not_after_s: float
    identity: SpiffeId | None
    problem: str = ""

    def spiffe_id(self, now_s: float) -> SpiffeId:
        """Return the identity at *now_s* (unix seconds); raises CertificateError."""
        if self.identity is None:
            raise CertificateError(self.problem)
        self.check_time(now_s)
        return self.identity

    def check_time(self, now_s: float) -> None:
        """Check that the certificate is valid at *now_s* (unix seconds); raises CertificateError."""
        if not self.not_before_s <= now_s <= self.not_after_s:
            raise CertificateError("the certificate is outside its validity")


class Certificates:
    """Reads certificates and remembers the last *capacity* of them: a caller shows the same one again and again."""

    __slots__ = ("_capacity", "_known")

    def __init__(self, capacity: int = _CACHED) -> None:
        self._capacity = capacity
        self._known: OrderedDict[bytes, PeerCertificate] = OrderedDict()

    def read(self, text: str) -> PeerCertificate:
        """Return the one certificate in *text*, URL-encoded PEM; raises CertificateError."""
        if not text or len(text) > MAX_CERTIFICATE_LENGTH:
            raise CertificateError("there is no certificate, or it is too large")
        key = sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = read_certificate(text)
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return known


def read_certificate(text: str) -> PeerCertificate:
    """Return the one certificate in *text*, URL-encoded PEM; raises CertificateError."""
    pem = unquote_to_bytes(text.encode("utf-8", "surrogatepass"))
    if not _PEM.fullmatch(pem):
        raise CertificateError("not exactly one certificate in PEM")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        identity, problem = _identity(certificate)
        return PeerCertificate(
            certificate.fingerprint(SHA256()),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
            identity,
            problem,
        )
    except Exception:  # noqa: BLE001 - the library has many for what anybody may send, and none for all of them
        raise CertificateError("the certificate can't be read") from None


def _identity(certificate: x509.Certificate) -> tuple[SpiffeId | None, str]:
    names = _extension(certificate, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    uris = (
        names.get_values_for_type(x509.UniformResourceIdentifier)
        if isinstance(names, x509.SubjectAlternativeName)
        else []
    )
    if len(uris) != 1:
        return None, "the certificate has not exactly one URI as subject alternative name"
    constraints = _extension(certificate, ExtensionOID.BASIC_CONSTRAINTS)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        return None, "the certificate is that of an authority, and no workload's"
    usage = _extension(certificate, ExtensionOID.KEY_USAGE)
    if isinstance(usage, x509.KeyUsage) and (usage.key_cert_sign or usage.crl_sign):
        return None, "the certificate may sign others, which no workload's may"
    try:
        identity = parse_spiffe_id(uris[0])
    except InvalidSpiffeIdError as error:
        return None, f"the certificate's URI is no SPIFFE ID: {error}"
    if not identity.path:
        return None, "the certificate names a trust domain, and no workload in it"
    return identity, ""


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> x509.ExtensionType | None:
    try:
        return certificate.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
