"""Which transport serves what, and the reason that the log gives."""

from pathlib import Path

import pytest

from envoy_sidecar.transport import choose as module
from envoy_sidecar.transport.choose import TransportName, choose
from envoy_sidecar.transport.port import ListenError, Service
from envoy_sidecar.transport.tls import TlsFiles
from tests.runtime.serving import Echo

TLS = TlsFiles(Path("cert.pem"), Path("key.pem"))
ECHO = Echo().service
STREAMS_ONLY = Service(ECHO.name, streams=ECHO.streams)


@pytest.mark.parametrize(
    ("asked", "service", "tls", "name", "reason"),
    [
        ("auto", ECHO, None, "native", "plaintext unary calls"),
        ("auto", ECHO, TLS, "grpcio", "TLS"),
        ("auto", STREAMS_ONLY, None, "grpcio", "all methods stream"),
        ("native", ECHO, None, "native", "asked for"),
        ("grpcio", ECHO, None, "grpcio", "asked for"),
        ("grpcio", ECHO, TLS, "grpcio", "asked for"),
        ("grpcio", STREAMS_ONLY, None, "grpcio", "asked for"),
    ],
)
def test_the_transport_and_the_reason(
    asked: TransportName, service: Service, tls: TlsFiles | None, name: str, reason: str
) -> None:
    choice = choose(asked, [service], tls)
    assert choice.name == name
    assert reason in choice.reason


@pytest.mark.parametrize(("service", "tls"), [(ECHO, TLS), (STREAMS_ONLY, None)])
def test_native_that_cannot_serve_is_refused_with_what_would(service: Service, tls: TlsFiles | None) -> None:
    with pytest.raises(ListenError, match=r"--transport native cannot serve this: .*; use auto or grpcio"):
        choose("native", [service], tls)


def test_without_the_wheel_auto_takes_grpcio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    choice = choose("auto", [ECHO], None)
    assert choice.name == "grpcio"
    assert "not installed" in choice.reason
