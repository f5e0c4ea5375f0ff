"""Every option as a flag and as a variable, and errors that say what would be right."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import pytest

from envoy_sidecar import cli
from envoy_sidecar.settings import ServerSettings, source_paths
from envoy_sidecar.transport.address import Address


def parsed(*arguments: str) -> tuple[int, ServerSettings | None]:
    """Return the exit code of `envoy-test serve ARGUMENTS`, and the settings that it got."""
    app = cli.make_app("test", "A test's.")
    got: list[ServerSettings] = []

    @app.command
    def serve(settings: ServerSettings) -> int:
        got.append(settings)
        return cli.EXIT_CLEAN

    with pytest.raises(SystemExit) as exited:
        cli.run(app, ["serve", *arguments])
    assert isinstance(exited.value.code, int)
    return exited.value.code, got[0] if got else None


ADDRESSES = ("--listen", "127.0.0.1:9191", "--admin", "127.0.0.1:9192")
EXAMPLES: dict[str, tuple[str, object]] = {
    "listen": ("unix:/run/x.sock", "unix:/run/x.sock"),
    "admin": ("[::1]:80", "[::1]:80"),
    "transport": ("grpcio", "grpcio"),
    "workers": ("3", 3),
    "socket_mode": ("0666", "0666"),
    "tls_cert": ("/c.pem", Path("/c.pem")),
    "tls_key": ("/k.pem", Path("/k.pem")),
    "tls_client_ca": ("/ca.pem", Path("/ca.pem")),
    "drain_delay": ("0.25", 0.25),
    "drain_time": ("3", 3.0),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}
TLS_OPTIONS = ("tls_cert", "tls_key", "tls_client_ca")


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def test_the_examples_here_are_all_options() -> None:
    assert set(EXAMPLES) == {field.name for field in fields(ServerSettings)}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("way", ["flag", "variable"])
def test_every_option_is_a_flag_and_a_variable(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"listen": "127.0.0.1:9191", "admin": "127.0.0.1:9192"}
    if name in TLS_OPTIONS:
        given |= {other: EXAMPLES[other][0] for other in TLS_OPTIONS}
    text, value = EXAMPLES[name]
    given.pop(name, None)
    arguments = [part for other, example in given.items() for part in (flag(other), example)]
    if way == "flag":
        arguments += [flag(name), text]
    else:
        monkeypatch.setenv(f"TEST_{name.upper()}", text)
    code, settings = parsed(*arguments)
    assert code == 0
    assert getattr(settings, name) == value


def test_a_flag_goes_before_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_WORKERS", "4")
    _, settings = parsed(*ADDRESSES, "--workers", "2")
    assert settings is not None
    assert settings.workers == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "9191"), "is not HOST:PORT or unix:PATH, as in 127.0.0.1:9191"),
        (("--listen", "x:99999"), "is not a port: a number from 0 to 65535 is needed"),
        (("--listen", "::1:80"), "write an IPv6 host in brackets"),
        (("--listen", "unix:"), "needs a path"),
        (("--admin", "127.0.0.1:91{worker}"), "is not a port"),
        (("--transport", "fast"), "auto"),
        (("--workers", "0"), "Must be >= 1"),
        (("--workers", "many"), "int"),
        (("--drain-time", "nan"), "is not a number of seconds from 0 to 600"),
        (("--drain-delay", "-1"), "is not a number of seconds from 0 to 600"),
        (("--log-level", "loud"), "debug"),
        (("--tls-cert", "/c.pem"), "--tls-cert and --tls-key go together"),
        (("--tls-client-ca", "/c.pem"), "--tls-client-ca needs --tls-cert and --tls-key"),
        (("--workers", "2", "--listen", "unix:/x.sock"), "needs one for each"),
        (("--workers", "2", "--listen", "127.0.0.1:0"), "--workers needs a port"),
        (("--workers", "9", "--listen", "127.0.0.1:6553{worker}"), "is not a port"),
        (("--admin", "127.0.0.1:9191"), "--listen and --admin are both 127.0.0.1:9191: give each its own"),
        (("--socket-mode", "rw"), "'rw' is not a mode: three octal digits are needed, as in 660"),
        (("--socket-mode", "4777"), "is not a mode"),
        (("--unknown", "1"), "--unknown"),
    ],
)
def test_what_cannot_be_is_refused_with_2_and_with_what_would_be_right(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = [part for i in (0, 2) if ADDRESSES[i] not in arguments for part in ADDRESSES[i : i + 2]]
    code, _ = parsed(*defaults, *arguments)
    said = capsys.readouterr()
    assert code == 2
    assert words in " ".join(said.err.replace("│", " ").split())
    assert not said.out


def test_a_wrong_variable_is_refused_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_WORKERS", "many")
    assert parsed(*ADDRESSES)[0] == 2
    assert "TEST_WORKERS" in capsys.readouterr().err


def test_the_placeholder_gives_each_worker_its_address() -> None:
    settings = ServerSettings(listen="127.0.0.1:919{worker}", admin="127.0.0.1:0", workers=2)
    assert [settings.listen_address(number).port for number in (0, 1)] == [9190, 9191]
    assert not settings.workers_share_port
    assert ServerSettings(listen="127.0.0.1:9191", admin="127.0.0.1:0", workers=2).workers_share_port


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("[::1]:9191", Address("::1", 9191)),
        ("unix:/run/a.sock", Address(path="/run/a.sock")),
        ("unix:///run/a.sock", Address(path="/run/a.sock")),
        ("unix:a.sock", Address(path="a.sock")),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


def test_help_and_version_need_no_settings() -> None:
    for option in ("--help", "--version"):
        command = [sys.executable, "-m", "tests.runtime.echo_service", option]
        assert subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("arguments", "variable", "words"),
    [
        (("--from", ""), None, "an empty path; write . for this folder"),
        ((), "a::b", "an empty path; write . for this folder"),
        (("--from",), None, "--from"),
        ((), None, "--from (or TEST_FROM) is required: Where from."),
    ],
)
def test_paths_of_sources_are_some_and_none_is_empty(
    arguments: tuple[str, ...],
    variable: str | None,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = cli.make_app("test", "A test's.")

    @app.command
    def look(*, from_: Annotated[tuple[Path, ...], source_paths("Where from.")]) -> int:
        assert all(from_)
        return cli.EXIT_CLEAN

    if variable is not None:
        monkeypatch.setenv("TEST_FROM", variable)
    with pytest.raises(SystemExit) as exited:
        cli.run(app, ["look", *arguments])
    assert exited.value.code == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_port_0_may_be_given_twice_because_each_gets_its_own() -> None:
    assert ServerSettings(listen="127.0.0.1:0", admin="127.0.0.1:0").admin_address.port == 0
