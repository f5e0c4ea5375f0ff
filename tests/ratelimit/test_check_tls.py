"""`check` of a service with TLS: certificates of both sides, names, and what it says where the two do not agree."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from envoy_ratelimit.cli import app
from envoy_sidecar import cli
from tests.ratelimit.asking import Admin, ratelimit
from tests.runtime.serving import Authority, write_pair

LIMITS = "domain: edge\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 2}}]\n"
PLAIN = "127.0.0.1:1"
Check = Callable[..., tuple[int, str, str]]


class Secured(NamedTuple):
    """A service that wants certificates, and the files for those who ask it."""

    admin: Admin
    ca: Path
    other_ca: Path
    client: tuple[str, ...]
    stranger: tuple[str, ...]


def client_options(authority: Authority, folder: Path) -> tuple[str, ...]:
    folder.mkdir()
    pair = write_pair(authority, "client", folder)
    return ("--tls-cert", str(pair.cert), "--tls-key", str(pair.key))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    (folder / "limits.yaml").write_text(LIMITS, "utf-8")
    authority, other = Authority.make("ours"), Authority.make("another")
    ca, other_ca = folder / "ca.pem", folder / "other.pem"
    ca.write_bytes(authority.pem)
    other_ca.write_bytes(other.pem)
    pair = write_pair(authority, "server", folder)
    options = ["--config", str(folder / "limits.yaml"), "--tls-client-ca", str(ca)]
    options += ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    with ratelimit(folder, *options) as admin:
        client = client_options(authority, folder / "client")
        yield Secured(admin, ca, other_ca, client, client_options(other, folder / "stranger"))


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    def ask(listen: str, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            cli.run(app, ["check", "--listen", listen, "--domain", "edge", "--peek", "user=a", *arguments])
        shown = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, shown.out, shown.err

    return ask


def test_a_service_that_wants_certificates_answers_who_has_one(check: Check, secured: Secured) -> None:
    code, shown, said = check(secured.admin.listen, "--tls-ca", str(secured.ca), *secured.client)
    assert (code, "2/DAY" in shown, said) == (0, True, "")


def test_a_certificate_may_be_for_another_name_than_was_dialled(check: Check, secured: Secured) -> None:
    listen = secured.admin.listen.replace("127.0.0.1", "localhost")
    options = ("--tls-ca", str(secured.ca), *secured.client)
    code, _, said = check(listen, *options)
    assert (code, "by --tls-server-name" in said) == (2, True)
    code, shown, _ = check(listen, *options, "--tls-server-name", "127.0.0.1")
    assert (code, "2/DAY" in shown) == (0, True)


def test_what_may_be_wrong_is_said(check: Check, secured: Secured) -> None:
    trusting = ("--tls-ca", str(secured.ca))
    for options, hint in (
        ((), "give its CA: --tls-ca"),
        (trusting, "give one: --tls-cert and --tls-key"),
        ((*trusting, *secured.stranger), "may not take this --tls-cert"),
        (("--tls-ca", str(secured.other_ca), *secured.client), "not one that --tls-ca vouches for"),
    ):
        code, shown, said = check(secured.admin.listen, *options)
        assert (code, shown, hint in said) == (2, "", True), said
        assert said.startswith(f"{secured.admin.listen}: UNAVAILABLE: ")


def test_a_service_without_tls_is_told_apart(check: Check, secured: Secured) -> None:
    plain = grpc.server(ThreadPoolExecutor(1))
    port = plain.add_insecure_port("127.0.0.1:0")
    plain.start()
    code, _, said = check(f"127.0.0.1:{port}", "--tls-ca", str(secured.ca))
    plain.stop(None).wait()
    assert (code, "leave out --tls-ca" in said) == (2, True)


def test_options_that_do_not_fit_together_are_named(check: Check, secured: Secured) -> None:
    _, cert, _, key = secured.client
    ca = ("--tls-ca", str(secured.ca))
    other_key = secured.stranger[3]
    for options, expected in (
        (("--tls-cert", cert), "--tls-cert and --tls-key go together"),
        (secured.client, "--tls-cert needs --tls-ca"),
        (("--tls-server-name", "x"), "--tls-server-name needs --tls-ca"),
        ((*ca, "--tls-cert", "/nowhere", "--tls-key", key), "--tls-cert /nowhere: No such file"),
        ((*ca, "--tls-cert", cert, "--tls-key", other_key), "--tls-cert and --tls-key are no PEM pair"),
        (("--tls-ca", "/nowhere"), "--tls-ca /nowhere: No such file"),
    ):
        code, _, said = check(PLAIN, *options)
        assert (code, expected in said) == (2, True), said
