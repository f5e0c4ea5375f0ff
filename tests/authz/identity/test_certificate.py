"""The peer certificate: exactly one URI, no authority, inside its validity."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.identity.certificate import (
    MAX_CERTIFICATE_LENGTH,
    CertificateError,
    Certificates,
    read_certificate,
)
from tests.authz.tokens.certificates import certificate, pem

WEB = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/web")
OTHER = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/other")
NOW_S = datetime.now(UTC).timestamp()


def encoded(made: x509.Certificate) -> str:
    return quote(pem(made), safe="")


def usage(**flags: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: flags.get(name, False) for name in names})


def problem(made: x509.Certificate, now_s: float = NOW_S) -> str:
    with pytest.raises(CertificateError) as caught:
        read_certificate(encoded(made)).spiffe_id(now_s)
    return str(caught.value)


def test_the_identity_and_the_thumbprint_are_read() -> None:
    made, _key = certificate(WEB, key_usage=usage(digital_signature=True))
    peer = read_certificate(encoded(made))
    assert str(peer.spiffe_id(NOW_S)) == WEB.value
    assert peer.thumbprint == hashlib.sha256(made.public_bytes(Encoding.DER)).digest()


def test_a_dns_name_besides_the_uri_is_fine() -> None:
    made, _key = certificate(x509.DNSName("web.shop"), WEB)
    assert str(read_certificate(encoded(made)).spiffe_id(NOW_S)) == WEB.value


def test_two_uris_are_no_identity() -> None:
    assert "exactly one URI" in problem(certificate(WEB, OTHER)[0])
    assert "exactly one URI" in problem(certificate(WEB, x509.UniformResourceIdentifier("https://x"))[0])


def test_no_uri_is_no_identity() -> None:
    assert "exactly one URI" in problem(certificate()[0])
    assert "exactly one URI" in problem(certificate(x509.DNSName("cluster.local"))[0])


def test_an_authority_is_no_workload() -> None:
    assert "authority" in problem(certificate(WEB, ca=True)[0])
    assert "may sign" in problem(certificate(WEB, key_usage=usage(key_cert_sign=True))[0])
    assert "may sign" in problem(certificate(WEB, key_usage=usage(crl_sign=True))[0])


@pytest.mark.parametrize(
    "uri", ["https://cluster.local/x", "spiffe://cluster.local", "spiffe://a/../b", "spiffe://A/b"]
)
def test_a_uri_that_is_no_workloads_spiffe_id_is_no_identity(uri: str) -> None:
    assert problem(certificate(x509.UniformResourceIdentifier(uri))[0])


def test_outside_its_validity_it_proves_nothing() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made, _key = certificate(WEB, valid=(start, start + timedelta(days=1)))
    known = read_certificate(encoded(made))
    assert known.spiffe_id(start.timestamp() + 60) == known.identity
    for now_s in (start.timestamp() - 1, start.timestamp() + 86401):
        with pytest.raises(CertificateError, match="outside its validity"):
            known.spiffe_id(now_s)


def test_a_version_that_does_not_exist_is_refused() -> None:
    made, _key = certificate(x509.UniformResourceIdentifier("spiffe://a/b"))
    der = made.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x1c", 1)
    body = base64.encodebytes(der).decode()
    text = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
    with pytest.raises(CertificateError, match="can't be read"):
        read_certificate(quote(text))


def test_it_is_exactly_one_certificate_in_pem() -> None:
    made, _key = certificate(WEB)
    two = quote(pem(made) + pem(certificate(OTHER)[0]), safe="")
    for text in (
        "",
        "x",
        two,
        "%",
        quote("junk\n" + pem(made)),
        encoded(made)[:-20],
        "a" * MAX_CERTIFICATE_LENGTH * 2,
    ):
        with pytest.raises(CertificateError):
            Certificates().read(text)


def test_a_certificate_is_read_once_and_few_are_remembered() -> None:
    certificates = Certificates(capacity=2)
    texts = [encoded(certificate(WEB)[0]) for _ in range(3)]
    first = certificates.read(texts[0])
    assert certificates.read(texts[0]) is first
    for text in texts:
        certificates.read(text)
    assert certificates.read(texts[0]) is not first


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.text(), st.data())
def test_nothing_makes_it_raise_anything_else(text: str, data: st.DataObject) -> None:
    damaged = bytearray(DAMAGEABLE.encode())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(32, 126))
    for attempt in (text, damaged.decode()):
        try:
            assert read_certificate(attempt).thumbprint
        except CertificateError as error:
            assert str(error)  # noqa: PT017 - either is right


DAMAGEABLE = encoded(certificate(WEB)[0])
