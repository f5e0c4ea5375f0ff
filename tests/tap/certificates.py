"""A certificate for the tap's tests, and an Envoy that asks for it."""

import datetime as dt
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from envoy_demo.configs import Config

PRINCIPAL = "spiffe://mesh/cart"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate that signs itself, is good for both sides and names PRINCIPAL and 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cart")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(PRINCIPAL), x509.IPAddress(ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def with_tls(config: Config, cert: Path, key: Path) -> None:
    """Let the listener of *config* take TLS only, with a client certificate."""
    kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    files = {"certificate_chain": {"filename": str(cert)}, "private_key": {"filename": str(key)}}
    inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    (listener,) = config["static_resources"]["listeners"]
    # It reads the server's name (SNI).
    listener["listener_filters"] = [
        {"name": "tls", "typed_config": {"@type": f"type.googleapis.com/{inspector}"}}
    ]
    (chain,) = listener["filter_chains"]
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"type.googleapis.com/{kind}",
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [files],
                "validation_context": {"trusted_ca": {"filename": str(cert)}},
            },
        },
    }
