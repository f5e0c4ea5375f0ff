"""Certificates for tests: an authority and what it signs."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def certificate(
    *names: x509.GeneralName,
    ca: bool = False,
    key_usage: x509.KeyUsage | None = None,
    valid: tuple[datetime, datetime] | None = None,
    issuer: tuple[x509.Certificate, Any] | None = None,
    common_name: str = "test",
) -> tuple[x509.Certificate, Any]:
    """Return a certificate for *names*, and its key; signed by itself unless by *issuer*."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    first, last = valid or (datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    return builder.sign(issuer[1] if issuer else key, SHA256()), key


def pem(made: x509.Certificate) -> str:
    return made.public_bytes(Encoding.PEM).decode()


def write(folder: Path, stem: str, made: x509.Certificate, key: Any) -> tuple[Path, Path]:
    """Write a certificate and its key to *folder*; return their files."""
    files = folder / f"{stem}.pem", folder / f"{stem}.key"
    files[0].write_text(pem(made))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def server_tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server on localhost and of a client that trusts it."""
    made, key = certificate(x509.DNSName("localhost"), ca=True)
    (folder / "cert.pem").write_text(pem(made))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cadata=pem(made))
