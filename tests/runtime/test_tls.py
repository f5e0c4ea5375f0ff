"""TLS and mTLS by grpcio: certificates that change on disk, and broken ones that don't come into use."""

import logging
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.port import ListenError
from envoy_sidecar.transport.tls import TlsFiles
from tests.runtime.serving import Authority, Running, running, say, served_certificate, write_pair

ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("the operator's")


def trusting(
    server: Running, authority: Authority, client: tuple[bytes, bytes] | None = None
) -> grpc.aio.Channel:
    cert, key = client or (None, None)
    credentials = grpc.ssl_channel_credentials(authority.pem, key, cert)
    return grpc.aio.secure_channel(str(server.address), credentials)


def served_name(server: Running, client: tuple[Path, Path] | None = None) -> str:
    certificate = x509.load_der_x509_certificate(served_certificate(server.address, client))
    return certificate.subject.rfc4514_string()


async def test_a_client_that_trusts_the_authority_is_answered(authority: Authority, tmp_path: Path) -> None:
    async with running("auto", ANY_PORT, tls=write_pair(authority, "server", tmp_path)) as server:
        async with trusting(server, authority) as channel:
            assert await say(channel, b"secure") == b"secure"
        async with server.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await say(channel, b"plain")


@pytest.fixture
def mutual(authority: Authority, tmp_path: Path) -> TlsFiles:
    files = write_pair(authority, "server", tmp_path)
    client_ca = tmp_path / "client-ca.pem"
    client_ca.write_bytes(authority.pem)
    return TlsFiles(files.cert, files.key, client_ca)


async def test_mtls_answers_a_client_with_a_certificate_and_refuses_others(
    authority: Authority, mutual: TlsFiles
) -> None:
    async with running("grpcio", ANY_PORT, tls=mutual) as server:
        async with trusting(server, authority, authority.issue("client")) as channel:
            assert await say(channel, b"known") == b"known"
        strangers = Authority.make("a stranger's")
        for client in (None, strangers.issue("client")):
            async with trusting(server, authority, client) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await say(channel, b"unknown")
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert [call.payload for batch in server.echo.batches for call in batch] == [b"known"]


async def test_a_new_client_authority_is_used_for_new_connections(
    authority: Authority, mutual: TlsFiles
) -> None:
    others = Authority.make("the next one")
    async with running("grpcio", ANY_PORT, tls=mutual) as server:
        assert mutual.client_ca is not None
        mutual.client_ca.write_bytes(others.pem)
        async with trusting(server, authority, others.issue("client")) as channel:
            assert await say(channel, b"new") == b"new"
        async with trusting(server, authority, authority.issue("client")) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await say(channel, b"old")


async def test_a_replaced_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running("grpcio", ANY_PORT, tls=write_pair(authority, "first", tmp_path)) as server:
        async with trusting(server, authority) as channel:
            assert await say(channel, b"before") == b"before"
            assert served_name(server) == "CN=first"
            write_pair(authority, "second", tmp_path)
            assert served_name(server) == "CN=second"
            assert await say(channel, b"after") == b"after"
        assert served_name(server) == "CN=second"
    assert caplog.text.count("a new certificate is in use") == 1


@pytest.mark.parametrize("what", ["no PEM", "missing", "another key", "encrypted key"])
async def test_a_broken_certificate_keeps_the_old_one_and_is_logged_once(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    files = write_pair(authority, "first", tmp_path)
    async with running("grpcio", ANY_PORT, tls=files) as server:
        if what == "no PEM":
            files.cert.write_text("nothing of the kind")
        elif what == "missing":
            files.cert.unlink()
        elif what == "another key":
            files.key.write_bytes(authority.issue("other")[1])
        else:
            key = serialization.load_pem_private_key(files.key.read_bytes(), None)
            files.key.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.BestAvailableEncryption(b"secret"),
                )
            )
        assert [served_name(server) for _ in range(3)] == ["CN=first"] * 3
        assert caplog.text.count("keeping the last good certificate") == 1
        write_pair(authority, "mended", tmp_path)
        assert served_name(server) == "CN=mended"


@pytest.mark.parametrize("what", ["cert", "key", "client_ca"])
async def test_broken_files_at_the_start_fail_loudly(authority: Authority, tmp_path: Path, what: str) -> None:
    pair = write_pair(authority, "server", tmp_path)
    bad = tmp_path / "bad.pem"
    bad.write_text("bad")
    files = {"cert": pair.cert, "key": pair.key, "client_ca": None, what: bad}
    tls = TlsFiles(files["cert"] or bad, files["key"] or bad, files["client_ca"])
    with pytest.raises(ListenError, match="TLS"):
        async with running("grpcio", ANY_PORT, tls=tls):
            pass
