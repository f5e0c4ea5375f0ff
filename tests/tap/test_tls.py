"""Over mutual TLS a session sees who called, whichever driver tells it."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from envoy_tap.core.annotations import taken_off
from tests.tap.building import session
from tests.tap.certificates import PRINCIPAL, certificate, with_tls
from tests.tap.proxied import tapped


@pytest.mark.parametrize("driver", ["lua", "ext_proc"])
async def test_the_principal_of_the_peer_is_captured_and_targeted(tmp_path: Path, driver: str) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    context.load_cert_chain(cert, key)
    async with tapped(
        tmp_path, metadata={"driver": driver}, change=lambda config: with_tls(config, cert, key)
    ) as at:
        at.slot.set(
            session("mine", f"source.principal={PRINCIPAL}", now_s=time.time()),
            session("other", "source.principal=spiffe://mesh/other", now_s=time.time()),
        )
        assert await at.settled() == ""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", at.envoy.port, ssl=context, server_hostname="shop.example"
        )
        writer.write(b"GET /orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"pong")
        writer.close()
        captured = await at.sink.next()
        plain, _ = taken_off(captured)
        assert (plain.tap_id, plain.source_principal) == ("mine", PRINCIPAL)
        assert plain.facts.tls_version.startswith("TLSv1.")
        assert plain.facts.server_name == "shop.example"
        assert not at.sink.waiting
