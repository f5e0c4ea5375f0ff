"""The file of --identity: every field read, every mistake told with its place, and no secret shown."""

from pathlib import Path

import pytest

from envoy_authz.authenticators.api_keys import hash_api_key
from envoy_authz.config.identity import load_identity
from envoy_authz.identity import Proof
from envoy_authz.server import AuthzSidecar
from envoy_sidecar.config.findings import InvalidConfigurationError
from tests.authz.tokens.minting import RSA_KEY, jwks, public_jwk

DIGEST = hash_api_key("key")
HEAD = "apiVersion: envoy-sidecars.dev/v1alpha1\nkind: Identity\n"
WHOLE = f"""{HEAD}spec:
  peers:
    proof: certificate
    trustDomainAliases: {{old.example: new.example}}
    forwardedBy: [spiffe://new.example/ns/edge/sa/proxy]
    trustedHops: 2
  jwtSvid: {{header: X-Svid, prefix: "Svid ", audiences: [shop], bundles: {{new.example: bundle.json}}}}
  apiKeys:
    header: x-key
    keys: [{{name: billing, sha256: {DIGEST}, claims: {{team: money}}, expires: "2030-01-01T00:00:00Z"}}]
  introspection:
    {{uri: https://login.example/i, clientId: authz, clientSecretFile: secret, issuer: "https://login.example",
      audiences: [shop], header: x-opaque, wait: 50ms}}
  dpop: {{origin: "https://shop.example"}}
  plugins: {{badge: {{header: x-badge}}}}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "bundle.json").write_text(jwks(public_jwk(RSA_KEY, kid="a", use="jwt-svid")))
    (folder / "secret").write_text("s3cret\n")
    file = folder / "identity.yaml"
    file.write_text(text)
    return file


def test_every_field_is_read(tmp_path: Path) -> None:
    found = load_identity(write(tmp_path, WHOLE))
    assert found.peers.proof is Proof.CERTIFICATE
    assert (found.peers.aliases, found.peers.trusted_hops) == ({"old.example": "new.example"}, 2)
    assert found.peers.forwarded_by == {"spiffe://new.example/ns/edge/sa/proxy"}
    assert found.svid is not None
    assert (found.svid.place.name, found.svid.place.prefix, found.svid.audiences) == (
        "x-svid",
        "Svid ",
        ("shop",),
    )
    assert found.api_keys is not None
    (key,) = found.api_keys.keys
    assert (found.api_keys.header, key.name, key.digest, key.claims) == (
        "x-key",
        "billing",
        DIGEST,
        {"team": "money"},
    )
    assert key.expires_at_s == 1_893_456_000
    assert found.introspection is not None
    assert (found.introspection.secret, found.introspection.wait_s) == ("s3cret", 0.05)
    assert (found.origin, found.plugins) == ("https://shop.example", {"badge": {"header": "x-badge"}})
    assert [file.name for file in found.files] == ["bundle.json", "secret"]
    shown = str(found.describe())
    assert "s3cret" not in shown + repr(found)
    assert DIGEST not in shown


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("kind: Identity\nspec: {}\n", "1:1", "apiVersion is not"),
        (HEAD, "1:1", "spec is missing"),
        (f"{HEAD}spec: {{peer: {{}}}}\n", "3:8", "peer"),
        (f"{HEAD}spec: {{peers: {{proof: word}}}}\n", "3:23", "'word' is unknown"),
        (f"{HEAD}spec: {{peers: {{trustedHops: 1}}}}\n", "3:29", "no proxy is trusted"),
        (f"{HEAD}spec: {{peers: {{forwardedBy: [shop]}}}}\n", "3:30", "no SPIFFE ID"),
        (
            f"{HEAD}spec: {{peers: {{trustDomainAliases: {{a: b, b: c}}}}}}\n",
            "3:36",
            "an alias stands for another",
        ),
        (
            f"{HEAD}spec: {{jwtSvid: {{header: x, audiences: [a], bundles: {{a: no}}}}}}\n",
            "3:58",
            "can't be read",
        ),
        (f"{HEAD}spec: {{jwtSvid: {{header: x, audiences: [], bundles: {{}}}}}}\n", "3:40", "empty"),
        (f"{HEAD}spec: {{apiKeys: {{keys: [{{name: a, sha256: abc}}]}}}}\n", "3:43", "no SHA-256"),
        (f"{HEAD}spec: {{apiKeys: {{keys: [{{name: a}}]}}}}\n", "3:25", "sha256 is missing"),
        (f"{HEAD}spec: {{introspection: {{uri: http://x}}}}\n", "3:29", "clear text"),
        (f"{HEAD}spec: {{dpop: {{origin: shop.example}}}}\n", "3:23", "no origin"),
        (f"{HEAD}spec: {{plugins: {{badge: 5}}}}\n", "3:25", "must be a mapping"),
        (f"{HEAD}spec: {{}}\n---\n{HEAD}spec: {{}}\n", "", "2 documents are here"),
    ],
)
def test_what_is_wrong_is_told_where_it_is(tmp_path: Path, text: str, place: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(InvalidConfigurationError) as caught:
        load_identity(file)
    told = [str(finding) for finding in caught.value.findings]
    assert any(one.startswith(f"{file}:{place}") and says in one for one in told), told


def test_a_broken_identity_leaves_the_old_one_and_a_plug_in_that_is_not_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    file = write(tmp_path, f"{HEAD}spec: {{dpop: {{origin: 'https://shop.example'}}}}\n")
    sidecar = AuthzSidecar([tmp_path / "policies"], identity=file)
    for text, says in (
        (f"{HEAD}spec: 5\n", "mapping"),
        (f"{HEAD}spec: {{plugins: {{badge: {{}}}}}}\n", "badge"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidConfigurationError, match=says):
            sidecar.reload()
        assert "'origin': 'https://shop.example'" in str(sidecar.describe())


def test_several_workers_say_that_each_remembers_its_own_proofs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "policies").mkdir()
    file = write(tmp_path, f"{HEAD}spec: {{dpop: {{origin: 'https://shop.example'}}}}\n")
    AuthzSidecar([tmp_path / "policies"], identity=file).reload()
    assert "DPoP" not in caplog.text
    AuthzSidecar([tmp_path / "policies"], identity=file, workers=2).reload()
    assert "each of 2 workers remembers the DPoP proofs" in caplog.text
