"""RequestAuthentication as Istio users write it, with a finding for all that can't be meant."""

import json
from pathlib import Path

import pytest

from envoy_authz.authenticators.model import HeaderPlace, JwtRule, RequestAuthentication
from envoy_authz.config.authentication import read_request_authentication
from envoy_sidecar.config.documents import read_documents
from tests.authz.tokens.minting import JWKS, RSA_KEY, jwks, public_jwk

OWN = "own.example/v1"
HEAD = (
    "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: jwt, namespace: shop}\n"
)
INLINE = json.dumps(JWKS)


def read(spec: str, head: str = HEAD) -> tuple[RequestAuthentication | None, list[str]]:
    (document,) = read_documents(head + spec, "a.yaml")
    model, findings = read_request_authentication(document, (OWN,))
    return model, [str(finding) for finding in findings]


def rule(fields: str, head: str = HEAD) -> JwtRule:
    model, findings = read(f"spec:\n  jwtRules:\n  - issuer: https://issuer.example\n{fields}", head)
    assert findings == []
    assert model is not None
    return model.rules[0]


def problem(fields: str, head: str = HEAD) -> str:
    model, findings = read(f"spec:\n  jwtRules:\n  - {fields}", head)
    assert model is None
    return "\n".join(findings)


def test_every_field_is_read() -> None:
    model, findings = read(
        f"""
spec:
  selector: {{matchLabels: {{app: web, tier: front}}}}
  jwtRules:
  - issuer: https://issuer.example
    audiences: [shop, bank]
    jwks: {INLINE}
    fromHeaders: [{{name: X-Jwt, prefix: "JWT "}}, {{name: x-raw}}]
    fromParams: [token]
    fromCookies: [session]
    outputPayloadToHeader: X-Payload
    outputClaimToHeaders: [{{header: X-User, claim: sub}}, {{header: x-role, claim: realm.role}}]
    forwardOriginalToken: true
    timeout: 1.5s
  - issuer: https://other.example
    jwksUri: https://other.example/keys
  - issuer: https://third.example
"""
    )
    assert findings == []
    assert model == RequestAuthentication(
        "jwt",
        "shop",
        (("app", "web"), ("tier", "front")),
        (
            JwtRule(
                "https://issuer.example",
                ("shop", "bank"),
                JWKS,
                from_headers=(HeaderPlace("x-jwt", "JWT "), HeaderPlace("x-raw")),
                from_params=("token",),
                from_cookies=("session",),
                output_payload_to_header="x-payload",
                output_claim_to_headers=(("x-user", "sub"), ("x-role", "realm.role")),
                forward_original_token=True,
                timeout_s=1.5,
            ),
            JwtRule("https://other.example", jwks_uri="https://other.example/keys"),
            JwtRule("https://third.example"),
        ),
    )
    assert model.full_name == "shop/jwt"


def test_our_own_fields_need_our_own_version() -> None:
    fields = "    algorithms: [ES256]\n    types: [AT+JWT]\n    requireExpiry: true\n    clockSkew: 5s\n"
    own = rule(fields, HEAD.replace("security.istio.io/v1", OWN))
    assert own.algorithms == {"ES256"}
    assert own.types == {"at+jwt"}
    assert own.require_expiry
    assert own.skew_s == 5
    assert "'algorithms' is not supported yet" in problem("issuer: https://x\n    algorithms: [ES256]")
    bad = problem(
        "issuer: https://x\n    algorithms: [none, HS256]", HEAD.replace("security.istio.io/v1", OWN)
    )
    assert "'none' is not supported" in bad
    assert "'HS256' is not supported" in bad


def test_keys_in_a_file_are_read_now_and_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "keys.jwks"
    file.write_text(JWKS)
    model, findings = read(f"spec:\n  jwtRules:\n  - issuer: local\n    jwksUri: file://{file}")
    assert findings == []
    assert model is not None
    assert model.files == (file,)
    assert model.rules[0].jwks == JWKS
    assert "can't be read" in problem(f"issuer: local\n    jwksUri: file://{tmp_path}/absent")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("audiences: [x]\n    jwks: '{}'", "issuer is missing"),
        ("issuer: ''", "empty string"),
        ("issuer: local", "there are no keys"),
        ("issuer: x\n    jwks: 'nonsense'", "no JWK Set"),
        ("issuer: x\n    jwks: '{\"keys\": []}'", "no key in this JWK Set can be used"),
        (f"issuer: x\n    jwksUri: https://x\n    jwks: {INLINE}", "both jwks and jwksUri"),
        ("issuer: x\n    jwksUri: ftp://x", "no address of keys"),
        ("issuer: x\n    jwksUri: file://x", "no address of keys"),
        ("issuer: x\n    jwksURI: https://x", "did you mean 'jwks'"),
        ("issuer: https://x\n    audiences: [shop, '']", "empty string"),
        ("issuer: https://x\n    audiences: shop", "must be a list"),
        ("issuer: https://x\n    fromHeaders: [{prefix: x}]", "name is missing"),
        ("issuer: https://x\n    fromHeaders: [{name: 'a b'}]", "no header name"),
        ("issuer: https://x\n    fromHeaders: [{name: ':path'}]", "no header name"),
        ("issuer: https://x\n    fromParams: ['a%62']", "query parameter"),
        ("issuer: https://x\n    fromCookies: ['a;b']", "cookie"),
        ("issuer: https://x\n    outputPayloadToHeader: Host", "can't be used"),
        ("issuer: https://x\n    outputPayloadToHeader: ':path'", "no header name"),
        ("issuer: https://x\n    outputClaimToHeaders: [{header: x-a}]", "claim is missing"),
        (
            "issuer: https://x\n    outputPayloadToHeader: x-a\n    outputClaimToHeaders: [{header: X-A, claim: b}]",
            "two outputs go to the header 'x-a'",
        ),
        ("issuer: https://x\n    forwardOriginalToken: 'yes'", "must be a boolean"),
        ("issuer: https://x\n    timeout: 5", "must be text"),
        ("issuer: https://x\n    timeout: forever", "no duration"),
        ("issuer: https://x\n    timeout: 61s", "no duration up to 60 s"),
        ("issuer: https://x\n    issuer: https://y", "given twice"),
    ],
)
def test_what_cannot_be_meant_is_a_finding(fields: str, expected: str) -> None:
    assert expected in problem(fields)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (HEAD.replace("istio.io/v1", "istio.io/v2"), "apiVersion 'security.istio.io/v2' is unknown"),
        (HEAD.replace("RequestA", "A"), "is no RequestAuthentication"),
        (HEAD.replace("name: jwt, ", ""), "metadata.name is missing"),
        (HEAD.replace("shop", "Shop_1"), "not a namespace"),
    ],
)
def test_what_is_wrong_about_the_document_is_a_finding(head: str, expected: str) -> None:
    assert expected in problem("issuer: https://x", head)


def test_what_is_allowed_and_probably_not_meant_is_a_warning() -> None:
    mixed = json.dumps(jwks(public_jwk(RSA_KEY, kid="a"), {"kty": "oct", "k": "AAAA"}))
    for spec, expected in (
        ("spec: {}", "no jwtRules"),
        ("spec: {jwtRules: []}", "no jwtRules"),
        ("spec: {jwtRules: [{issuer: x, jwksUri: 'http://x/keys'}]}", "plain http"),
        ("spec: {jwtRules: [{issuer: 'http://x'}]}", "plain http"),
        (f"spec: {{jwtRules: [{{issuer: x, jwks: {mixed}}}]}}", "keys[1] holds a secret"),
    ):
        model, findings = read(spec)
        assert model is not None
        assert len(findings) == 1
        assert expected in findings[0]
        assert "warning" in findings[0]


@pytest.mark.parametrize(
    "text", ["[]", "x", "{}", "{kind: 5}", "{spec: [1]}", "{kind: RequestAuthentication, spec: 5}"]
)
def test_nonsense_is_findings_and_never_an_exception(text: str) -> None:
    for document in read_documents(text, "a.yaml"):
        assert read_request_authentication(document)[0] is None
