"""Files that policies and identity name are watched, also those that they name only later."""

from pathlib import Path

from envoy_demo.processes import Process, Processes
from envoy_demo.services import start_authz
from tests.authz.tokens.minting import OTHER_RSA_KEY, RSA_KEY, jwks, public_jwk

POLICIES = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: login}
spec: {jwtRules: [{issuer: "https://login.example", jwksUri: "file://FILE"}]}
"""


def until_reloads(process: Process, count: int) -> None:
    """Return once so many reloads are in the log."""
    process.until(lambda: True if process.log_text().count("reload (") >= count else None, f"{count} reloads")


def seen(log: str) -> bool | None:
    return "second/jwks.json" in log or "reload (changed during a reload)" in log or None


def test_keys_in_a_file_that_is_named_after_the_start_are_followed(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "jwks.json").write_text(jwks(public_jwk(RSA_KEY, kid=name)))
    (policies / "all.yaml").write_text(POLICIES.replace("FILE", str(tmp_path / "first" / "jwks.json")))
    with Processes(tmp_path) as processes:
        authz = start_authz(processes, policies, ["--drain-delay", "0"])
        authz.wait_ready()
        (tmp_path / "first" / "jwks.json").write_text(jwks(public_jwk(OTHER_RSA_KEY, kid="first")))
        until_reloads(authz.process, 1)
        (policies / "all.yaml").write_text(POLICIES.replace("FILE", str(tmp_path / "second" / "jwks.json")))
        until_reloads(authz.process, 2)
        (tmp_path / "second" / "jwks.json").write_text(jwks(public_jwk(OTHER_RSA_KEY, kid="second")))
        # Its name is in the log, unless it came while the policies that name it were still being taken up.
        authz.process.until(lambda: seen(authz.process.log_text()), "a reload for second/jwks.json")
        assert "refused" not in authz.process.log_text()
