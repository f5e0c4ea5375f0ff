"""`token`: what it makes is verified by the service's own rules, and its key is for its owner alone."""

import json
import stat
import time
from pathlib import Path

import pytest

from envoy_authz.tokens import Expectations
from envoy_authz.tokens.jwt import parse_jwt
from envoy_authz.tokens.keys import parse_jwks
from envoy_authz.tokens.sources import StaticKeys
from envoy_authz.tokens.verify import verify
from tests.authz.commands.conftest import Run


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "key.pem", tmp_path / "jwks.json"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_a_token_is_verified_by_the_keys_beside_it(
    run: Run, files: tuple[Path, Path], algorithm: str
) -> None:
    key, jwks = files
    code, token, said = run(
        *("token", "--key", str(key), "--jwks", str(jwks), "--algorithm", algorithm),
        *("--issuer", "https://i.example", "--subject", "ann", "--audience", "shop"),
        *("--claim", "level=3", "--claim", 'groups=["a"]', "--claim", "team=red", "--expires-in", "60"),
    )
    assert code == 0
    assert said == f"for development: who can read {key} (new) signs as https://i.example\n"
    keys = StaticKeys(parse_jwks(jwks.read_text("utf-8")))
    expected = Expectations("https://i.example", frozenset({"shop"}))
    found = verify(parse_jwt(token.strip()), keys, expected, time.time())
    assert (found.principal, found.audiences) == ("https://i.example/ann", frozenset({"shop"}))
    assert {name: found.claims[name] for name in ("level", "groups", "team")} == {
        "level": 3,
        "groups": ["a"],
        "team": "red",
    }
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert set(json.loads(jwks.read_text("utf-8"))["keys"][0]).isdisjoint({"d", "p", "q", "k"})


def test_a_key_is_kept_and_stands_once_in_the_set(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    key, jwks = files
    make = ("token", "--jwks", str(jwks), "--format", "json")
    first = json.loads(run(*make, "--key", str(key))[1])
    again = json.loads(run(*make, "--key", str(key), "--audience", "a", "--audience", "b")[1])
    assert first["jwks"] == again["jwks"] == json.loads(jwks.read_text("utf-8"))
    assert again["claims"]["aud"] == ["a", "b"]
    run(*make, "--key", str(tmp_path / "other.pem"))
    assert len(json.loads(jwks.read_text("utf-8"))["keys"]) == 2


def test_a_key_that_others_can_read_is_refused(run: Run, files: tuple[Path, Path]) -> None:
    key, _ = files
    run("token", "--key", str(key))
    key.chmod(0o640)
    code, shown, said = run("token", "--key", str(key))
    assert (code, shown) == (2, "")
    assert f"others can read it; chmod 600 {key}" in said


def test_a_link_is_not_written_through(run: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    key, _ = files
    key.symlink_to(tmp_path / "elsewhere")
    assert run("token", "--key", str(key))[0] == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--key"),
        (("--key", "/nowhere/key"), "--key /nowhere/key: No such file"),
        (("--key", "{key}", "--claim", "x"), "--claim 'x': write it like name=value"),
        (("--key", "{key}", "--algorithm", "RS256"), "the key in {key} is for ES256"),
        (("--key", "{key}", "--algorithm", "HS256"), "--algorithm"),
        (("--key", "{key}", "--jwks", "{key}"), "--jwks {key}: this is no JWK Set"),
        (("--key", "{key}", "--jwks", "/nowhere/x"), "--jwks /nowhere/x: No such file"),
        (("--key", "{text}"), "--key {text}: this is no private key in PEM"),
    ],
)
def test_what_can_not_be_made_is_a_2(
    run: Run, files: tuple[Path, Path], tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    key, text = files[0], tmp_path / "text"
    run("token", "--key", str(key))
    text.write_text("nothing", "utf-8")
    text.chmod(0o600)
    named = {"key": key, "text": text}
    code, shown, error = run("token", *(option.format(**named) for option in options))
    assert (code, shown) == (2, "")
    assert said.format(**named) in error
    assert "PRIVATE" not in error
