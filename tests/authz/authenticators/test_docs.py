"""Everything in docs/authz-identity.md was typed: its YAML is read without a finding, its Python runs."""

import re
from pathlib import Path

from envoy_authz.authenticators.api_keys import hash_api_key
from envoy_authz.config.authentication import KIND, read_request_authentication
from envoy_authz.config.identity import load_identity
from envoy_authz.config.policies import OUR_API_VERSION
from envoy_authz.tokens.flaws import Flaw
from envoy_sidecar.config.documents import read_documents
from tests.authz.tokens.minting import RSA_KEY, jwks, public_jwk

DOCS = (Path(__file__).parents[3] / "docs" / "authz-identity.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)


def test_the_documents_are_read_without_a_finding() -> None:
    documents = [document for block in blocks("yaml") for document in read_documents(block, "docs")]
    documents = [one for one in documents if (kind := one.get("kind")) and kind.scalar == KIND]
    assert len(documents) == 2
    for document in documents:
        model, findings = read_request_authentication(document, (OUR_API_VERSION,))
        assert model is not None
        assert findings == []


def test_the_identity_file_is_read(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("yaml") if "kind: Identity" in block]
    (tmp_path / "bundle.json").write_text(jwks(public_jwk(RSA_KEY, kid="a", use="jwt-svid")))
    (tmp_path / "client-secret").write_text("s")
    (tmp_path / "identity.yaml").write_text(text)
    found = load_identity(tmp_path / "identity.yaml")
    assert found.api_keys is not None
    assert found.api_keys.keys[0].digest == hash_api_key("key")


def test_the_python_runs_in_its_order() -> None:
    names: dict[str, object] = {}
    examples = [block for block in blocks("python") if not block.startswith("# shop_plugins.py")]
    assert len(examples) == 4
    for example in examples:
        exec(compile(example, "docs/authz-identity.md", "exec"), names)  # noqa: S102 - that is the test


def test_every_reason_is_listed() -> None:
    for flaw in Flaw:
        assert f"`{flaw.value}`" in DOCS
