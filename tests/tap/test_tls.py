"""Over mutual TLS a session sees who called."""

import asyncio
import datetime as dt
import ssl
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from envoy_demo.configs import Config
from envoy_tap.core.annotations import taken_off
from tests.tap.building import session
from tests.tap.proxied import tapped

PRINCIPAL = "spiffe://mesh/cart"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate that signs itself, is good for both sides and names PRINCIPAL, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cart")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(PRINCIPAL)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def test_the_principal_of_the_peer_is_captured_and_targeted(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)

    def with_tls(config: Config) -> None:
        kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
        files = {"certificate_chain": {"filename": str(cert)}, "private_key": {"filename": str(key)}}
        (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
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

    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    context.load_cert_chain(cert, key)
    async with tapped(tmp_path, change=with_tls) as at:
        at.slot.set(
            session("mine", f"source.principal={PRINCIPAL}", now_s=time.time()),
            session("other", "source.principal=spiffe://mesh/other", now_s=time.time()),
        )
        assert await at.settled() == ""
        reader, writer = await asyncio.open_connection("127.0.0.1", at.envoy.port, ssl=context)
        writer.write(b"GET /orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"pong")
        writer.close()
        captured = await at.sink.next()
        plain, _ = taken_off(captured)
        assert (plain.tap_id, plain.source_principal) == ("mine", PRINCIPAL)
        assert not at.sink.waiting
