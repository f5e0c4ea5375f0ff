"""RequestAuthentication: several issuers and places, what goes on to the upstream, and how refusals read."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.authenticators.model import HeaderPlace, JwtRule, RequestAuthentication
from envoy_authz.authenticators.request_authentication import RequestAuthenticator, applies
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.request import Request
from envoy_authz.tokens.flaws import Flaw
from envoy_authz.tokens.keys import parse_jwks
from envoy_authz.tokens.sources import KeyRing, StaticKeys
from tests.authz.tokens.minting import (
    AUDIENCE,
    EC_KEYS,
    ISSUER,
    JWKS,
    NOW_S,
    OTHER_RSA_KEY,
    RSA_KEY,
    Source,
    claims,
    jwks,
    public_jwk,
    token,
)

OTHER_ISSUER = "https://other.example"
RULE = JwtRule(ISSUER, (AUDIENCE,), jwks=JWKS)
OTHER = JwtRule(OTHER_ISSUER, jwks=jwks(public_jwk(EC_KEYS["ES256"], kid="ES256")))
OTHER_TOKEN = token(claims(iss=OTHER_ISSUER, sub="bob"), algorithm="ES256", kid="ES256")


class Clock:
    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def authenticator(*rules: JwtRule, clock: Clock | None = None) -> RequestAuthenticator:
    document = RequestAuthentication("jwt", rules=rules or (RULE,))
    return RequestAuthenticator([document], KeyRing(), clock=clock or Clock())


def request(path: str = "/x", method: str = "GET", /, **headers: str) -> Request:
    return Request(method, path, request_headers={k.replace("_", "-"): v for k, v in headers.items()})


def bearer(text: str) -> Request:
    return request(authorization=f"Bearer {text}")


def subjects(found: Authentication) -> list[str]:
    assert found.refusal is None
    return [verified.subject for verified in found.tokens]


def refused(found: Authentication) -> str:
    assert found.refusal is not None
    assert found.tokens == ()
    return found.refusal.reason


def test_no_token_passes_and_a_bad_one_does_not() -> None:
    authenticate = authenticator().authenticate
    assert subjects(authenticate(request())) == []
    assert subjects(authenticate(bearer(token()))) == ["alice"]
    assert refused(authenticate(bearer(token(key=OTHER_RSA_KEY)))) == "signature"
    assert refused(authenticate(bearer(""))) == "malformed"


def test_each_issuer_has_its_own_keys() -> None:
    authenticate = authenticator(RULE, OTHER).authenticate
    assert subjects(authenticate(bearer(OTHER_TOKEN))) == ["bob"]
    stolen = token(claims(iss=OTHER_ISSUER))  # by the key of the first issuer
    assert refused(authenticate(bearer(stolen))) == "key_unknown"
    assert refused(authenticate(bearer(token(claims(iss="https://evil.example"))))) == "issuer"
    assert refused(authenticate(bearer(token(claims(iss=None))))) == "issuer"


def test_two_rules_of_one_issuer_may_differ_in_audience() -> None:
    both = authenticator(RULE, JwtRule(ISSUER, ("admin",), jwks=JWKS)).authenticate
    assert subjects(both(bearer(token(claims(aud="admin"))))) == ["alice"]
    assert refused(both(bearer(token(claims(aud="none"))))) == "audience"


def test_of_two_tokens_all_must_be_valid() -> None:
    rules = (
        RULE,
        JwtRule(OTHER_ISSUER, jwks=OTHER.jwks, from_headers=(HeaderPlace("x-jwt"),)),
    )
    authenticate = authenticator(*rules).authenticate
    good = request(authorization=f"Bearer {token()}", x_jwt=OTHER_TOKEN)
    assert subjects(authenticate(good)) == ["alice", "bob"]
    assert refused(authenticate(request(authorization=f"Bearer {token()}", x_jwt="a.b.c"))) == "malformed"
    assert refused(authenticate(request(authorization="Bearer x", x_jwt=OTHER_TOKEN))) == "malformed"
    # A token counts only where its own issuer's rule looks.
    assert refused(authenticate(request(x_jwt=token()))) == "issuer"


def test_the_challenge_is_that_of_rfc_6750_and_holds_nothing_of_the_token() -> None:
    authenticate = authenticator().authenticate
    for text in (token(claims(exp=5)), token(claims(sub="secret-subject"), key=OTHER_RSA_KEY), "secret"):
        found = authenticate(bearer(text))
        assert found.refusal is not None
        challenge = found.refusal.www_authenticate
        form = r'Bearer realm="[ -!#-\[\]-~]+", error="invalid_token", error_description="[ -!#-\[\]-~]+"'
        assert re.fullmatch(form, challenge)
        assert "secret" not in f"{challenge}{found.refusal.message}"


def test_keys_that_are_not_here_are_no_fault_of_the_token() -> None:
    rule = JwtRule(ISSUER, jwks_uri="https://issuer.example/keys")
    found = authenticator(rule).authenticate(bearer(token()))
    assert refused(found) == "keys_unavailable"
    assert found.refusal is not None
    assert found.refusal.www_authenticate == 'Bearer realm="envoy-authz"'


def test_a_preflight_is_not_authenticated() -> None:
    authenticate = authenticator(
        JwtRule(ISSUER, jwks=JWKS, output_claim_to_headers=(("x-user", "sub"),))
    ).authenticate
    preflight = {"origin": "https://web", "access_control_request_method": "PUT", "authorization": "Bearer x"}
    found = authenticate(request("/x", "OPTIONS", **preflight))
    assert subjects(found) == []
    assert found.remove_headers == ("x-user",)
    assert refused(authenticate(request("/x", "GET", **preflight))) == "malformed"
    for missing in ("origin", "access_control_request_method"):
        rest = {name: value for name, value in preflight.items() if name != missing}
        assert refused(authenticate(request("/x", "OPTIONS", **rest))) == "malformed"


# What goes on to the upstream


def outputs(found: Authentication) -> tuple[Mapping[str, str], tuple[str, ...]]:
    headers = dict(found.set_headers)
    # Envoy removes after it has set.
    assert headers.keys().isdisjoint(found.remove_headers)
    return headers, found.remove_headers


OUTPUT = JwtRule(
    ISSUER,
    jwks=JWKS,
    output_payload_to_header="x-payload",
    output_claim_to_headers=(
        ("x-user", "sub"),
        ("x-level", "level"),
        ("x-admin", "admin"),
        ("x-role", "realm.role"),
        ("x-url", "https://example.com/role"),
    ),
)


def test_claims_and_payload_become_headers() -> None:
    payload = claims(level=3, admin=True, realm={"role": "dev"}, **{"https://example.com/role": "ops"})
    text = token(payload)
    headers, removed = outputs(authenticator(OUTPUT).authenticate(bearer(text)))
    assert headers == {
        "x-payload": text.split(".")[1],
        "x-user": "alice",
        "x-level": "3",
        "x-admin": "true",
        "x-role": "dev",
        "x-url": "ops",
    }
    assert removed == ("authorization",)


def test_identity_headers_that_are_not_set_are_removed() -> None:
    names = ("x-admin", "x-level", "x-payload", "x-role", "x-url", "x-user")
    authenticate = authenticator(OUTPUT).authenticate
    assert outputs(authenticate(request(x_user="root"))) == ({}, names)
    headers, removed = outputs(authenticate(bearer(token())))
    assert headers.keys() == {"x-payload", "x-user"}
    assert removed == ("authorization", "x-admin", "x-level", "x-role", "x-url")


@pytest.mark.parametrize(
    "value", ["a\r\nx-admin: true", "a\x00", "", None, [1], {"a": 1}, 1.5, "x" * 20_000, "\x7f"]
)
def test_a_claim_that_no_header_can_hold_sets_none(value: object) -> None:
    rule = JwtRule(ISSUER, jwks=JWKS, output_claim_to_headers=(("x-level", "level"),))
    payload = {**claims(), "level": value}
    found = authenticator(rule).authenticate(bearer(token(payload)))
    if found.refusal is None:
        assert outputs(found) == ({}, ("authorization", "x-level"))


def test_the_original_token_is_stripped_or_forwarded() -> None:
    everywhere = {
        "from_headers": (HeaderPlace("x-jwt"),),
        "from_params": ("t",),
        "from_cookies": ("session",),
    }
    strip = authenticator(JwtRule(ISSUER, jwks=JWKS, **everywhere)).authenticate  # type: ignore[arg-type]
    keep = authenticator(JwtRule(ISSUER, jwks=JWKS, forward_original_token=True, **everywhere)).authenticate  # type: ignore[arg-type]
    text = token()
    in_header, in_query = request(x_jwt=text), request(f"/x?t={text}&a=b")
    in_cookie, in_only_cookie = request(cookie=f"a=b; session={text}; c=d"), request(cookie=f"session={text}")
    assert strip(in_header).remove_headers == ("x-jwt",)
    assert strip(in_query).remove_query_parameters == ("t",)
    assert strip(in_cookie).set_headers == (("cookie", "a=b; c=d"),)
    assert strip(in_only_cookie).remove_headers == ("cookie",)
    for kept in (in_header, in_query, in_cookie, in_only_cookie):
        found = keep(kept)
        assert subjects(found) == ["alice"]
        assert (found.set_headers, found.remove_headers, found.remove_query_parameters) == ((), (), ())


def test_a_token_may_be_replaced_by_its_payload_in_the_same_header() -> None:
    rule = JwtRule(ISSUER, jwks=JWKS, output_payload_to_header="authorization")
    headers, removed = outputs(authenticator(rule).authenticate(bearer(token())))
    assert headers.keys() == {"authorization"}
    assert removed == ()


# Memory


def test_a_verified_token_is_remembered_until_it_expires() -> None:
    clock = Clock()
    authenticate = authenticator(clock=clock).authenticate
    text = token(claims(exp=NOW_S + 100))
    assert authenticate(bearer(text)) is authenticate(bearer(text))
    clock.now_s += 159
    assert subjects(authenticate(bearer(text))) == ["alice"]
    clock.now_s += 1
    assert refused(authenticate(bearer(text))) == "expired"


def test_a_verified_token_is_forgotten_when_the_keys_change(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    monkeypatch.setattr("envoy_authz.authenticators.request_authentication.StaticKeys", lambda _keys: source)
    authenticate = authenticator().authenticate
    text = token()
    assert subjects(authenticate(bearer(text))) == ["alice"]
    source.keys = parse_jwks(jwks(public_jwk(OTHER_RSA_KEY, kid="rsa")))
    assert refused(authenticate(bearer(text))) == "signature"
    source.keys = None
    assert refused(authenticate(bearer(text))) == "keys_unavailable"
    source.keys = parse_jwks(JWKS)
    assert subjects(authenticate(bearer(text))) == ["alice"]


def test_a_token_remembered_at_one_place_is_verified_again_at_another() -> None:
    rules = (
        JwtRule(ISSUER, jwks=JWKS, from_headers=(HeaderPlace("x-a"),)),
        JwtRule(ISSUER, ("admin",), jwks=JWKS, from_headers=(HeaderPlace("x-b"),)),
    )
    authenticate = authenticator(*rules).authenticate
    assert subjects(authenticate(request(x_a=token()))) == ["alice"]
    assert refused(authenticate(request(x_b=token()))) == "audience"


# Which documents apply


def test_a_document_applies_by_namespace_and_labels() -> None:
    shop = RequestAuthentication("a", "shop", (("app", "web"),))
    assert applies(shop, "shop", {"app": "web", "x": "y"}, "root")
    assert not applies(shop, "shop", {"app": "api"}, "root")
    assert not applies(shop, "shop", {}, "root")
    assert not applies(shop, "bank", {"app": "web"}, "root")
    assert applies(RequestAuthentication("a", "root"), "bank", {}, "root")
    assert applies(RequestAuthentication("a"), "bank", {}, "root")
    # Unknown: verifying more is the careful side.
    assert applies(shop, "", None, "root")


def test_only_documents_of_the_workload_verify() -> None:
    shop = RequestAuthentication("a", "shop", rules=(RULE,))
    bank = RequestAuthentication("b", "bank", rules=(OTHER,))
    authenticate = RequestAuthenticator([shop, bank], KeyRing(), clock=Clock()).authenticate

    def at(namespace: str, text: str) -> Authentication:
        headers = {"authorization": f"Bearer {text}"}
        return authenticate(Request("GET", "/", request_headers=headers, context={"namespace": namespace}))

    assert subjects(at("shop", token())) == ["alice"]
    assert refused(at("shop", OTHER_TOKEN)) == "issuer"
    assert subjects(at("bank", OTHER_TOKEN)) == ["bob"]
    assert subjects(at("other", token())) == []
    assert subjects(at("", token())) == ["alice"]


def test_an_identity_header_is_removed_for_every_workload() -> None:
    rule = replace(RULE, output_claim_to_headers=(("x-user", "sub"),))
    shop, bank = RequestAuthentication("a", "shop", rules=(rule,)), RequestAuthentication("b", "bank")
    authenticate = RequestAuthenticator([shop, bank], KeyRing(), clock=Clock()).authenticate
    for namespace in ("shop", "bank", "other", ""):
        forged = Request("GET", "/", request_headers={"x-user": "root"}, context={"namespace": namespace})
        assert authenticate(forged).remove_headers == ("x-user",)


# Whatever comes


class BrokenRequest(Request):
    def header(self, name: str) -> str | None:
        raise RuntimeError(name)


def test_an_unexpected_exception_is_a_logged_refusal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        found = authenticator().authenticate(BrokenRequest("GET", "/"))
    assert refused(found) == Flaw.INTERNAL
    assert caplog.records[0].exc_info


def test_no_token_and_no_claim_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        authenticate = authenticator(OUTPUT).authenticate
        for text in (token(claims(sub="secret")), token(claims(sub="secret"), key=OTHER_RSA_KEY)):
            authenticate(bearer(text))
            for part in (*text.split("."), "secret"):
                assert part not in caplog.text


@given(st.text(), st.text(), st.text(), st.sampled_from(["GET", "OPTIONS"]))
def test_any_request_gets_an_answer(path: str, authorization: str, cookie: str, method: str) -> None:
    rule = JwtRule(
        ISSUER,
        jwks=JWKS,
        from_headers=(HeaderPlace("authorization", "Bearer "), HeaderPlace("x-jwt")),
        from_params=("t",),
        from_cookies=("t",),
    )
    found = authenticator(rule).authenticate(
        request(
            f"/?t={path}", method, authorization=f"Bearer {authorization}", cookie=f"t={cookie}", x_jwt=path
        )
    )
    assert found.tokens == ()
    assert found.refusal is None or found.refusal.reason != Flaw.INTERNAL


def test_static_keys_have_nowhere_to_look() -> None:
    source = StaticKeys(parse_jwks(jwks(public_jwk(RSA_KEY))))
    source.want()
    assert source.keys is not None
    assert json.dumps(source.keys.skipped) == "[]"
