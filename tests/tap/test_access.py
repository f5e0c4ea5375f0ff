"""Who is let in by which token, and what the rules let each one tap and see."""

import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_tap.access import Authority, DeniedError, Person, Role, Rule, Rules
from envoy_tap.access import jwks as jwks_module
from envoy_tap.access.jwks import MAX_AGE_S, MAX_STALE_S, RETRY_S, UrlKeys
from envoy_tap.access.jwt_file import read_issuers
from envoy_tap.access.rules_file import read_rules
from envoy_tap.core.exchange import Message
from envoy_tap.core.node import NodeSelector
from envoy_tap.core.policy import within
from envoy_tap.core.predicate import printed
from envoy_tap.core.session import Limits, Session
from tests.tap.building import Clock, exchange, session

ISSUER = "https://login.example.com/"
EC_KEY, OTHER_KEY = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
ED_KEY = Ed25519PrivateKey.generate()
CLAIMS = {"iss": ISSUER, "aud": "envoy-tap", "sub": "alice", "groups": ["sre"], "exp": 4_000_000_000}
EC_JWK = {**json.loads(ECAlgorithm.to_jwk(EC_KEY.public_key())), "kid": "ec", "use": "sig"}
ED_JWK = {**json.loads(OKPAlgorithm.to_jwk(ED_KEY.public_key())), "kid": "ed"}
FILE = """
issuers:
  - issuer: https://login.example.com/
    audiences: [envoy-tap]
    jwks: keys.json
    role: {claim: groups, viewer: [everyone], operator: [sre], admin: [sre-leads]}
    teams: org.teams
"""


@pytest.fixture
def issuers(tmp_path: Path) -> Path:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [EC_JWK, ED_JWK]}), "utf-8")
    path = tmp_path / "jwt.yaml"
    path.write_text(FILE, "utf-8")
    return path


def signed(claims: Mapping[str, Any], key: Any = EC_KEY, algorithm: str = "ES256", **header: Any) -> str:
    # The lower layer, which lets claims be of any kind.
    text = json.dumps(claims).encode()
    return jwt.PyJWS().encode(text, key, algorithm, headers={"kid": "ec", "typ": "JWT", **header})


async def test_an_issuers_token_says_who_one_is(issuers: Path) -> None:
    found = read_issuers(issuers)
    claims = {**CLAIMS, "groups": ["everyone", "sre"], "org": {"teams": ["payments", "a b"]}}
    one = await found.person(signed(claims))
    assert one is not None
    assert replace(one, subject="") == Person("alice", Role.OPERATOR, frozenset({"payments"}))
    by_ed = signed({**CLAIMS, "groups": "sre-leads other"}, ED_KEY, "EdDSA", kid="ed")
    assert await found.person(by_ed) == Person("alice", Role.ADMIN, subject=one.subject)


@pytest.fixture
def two_issuers(issuers: Path) -> Path:
    other = FILE.removeprefix("\nissuers:\n").replace("login", "other")
    issuers.write_text(f"{FILE}    name: email\n{other}    name: email\n", "utf-8")
    return issuers


async def test_a_person_is_an_issuers_subject_and_a_name_that_two_issuers_give_is_two(
    two_issuers: Path,
) -> None:
    found = read_issuers(two_issuers)

    async def person(**claims: Any) -> Person:
        read = await found.person(signed({**CLAIMS, "email": "al", **claims}))
        assert read is not None
        return read

    al, renamed = await person(), await person(email="alice2")
    other_al, namesake = await person(iss="https://other.example.com/"), await person(sub="another")
    assert renamed.is_who(al.name, al.subject)
    for each in (other_al, namesake, Person("al", Role.OPERATOR)):
        assert not each.is_who(al.name, al.subject)
        assert each.may_be_who(al.name, al.subject), "so none of them can approve what al asked for"
    theirs = replace(asked(), team="payments", who=al.name, subject=al.subject)
    assert [Rules([]).controls(each, theirs) for each in (al, renamed, other_al, namesake)] == [
        *(True, True, False, False)
    ]


def unsigned() -> str:
    parts = [json.dumps(each).encode() for each in ({"alg": "none", "typ": "JWT"}, CLAIMS)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def by_public_key() -> str:
    # The classic confusion: the public key, which everyone has, as the secret of an HMAC.
    return jwt.encode(dict(CLAIMS), json.dumps(EC_JWK).encode() * 2, "HS256", headers={"kid": "ec"})


@pytest.mark.parametrize(
    "token",
    [
        signed({**CLAIMS, "exp": 1}),
        signed({name: value for name, value in CLAIMS.items() if name != "exp"}),
        signed({**CLAIMS, "nbf": 4_000_000_000}),
        signed({**CLAIMS, "aud": "another"}),
        signed({name: value for name, value in CLAIMS.items() if name != "aud"}),
        signed({**CLAIMS, "iss": "https://evil.example/"}),
        signed({**CLAIMS, "iss": ["https://login.example.com/"]}),
        signed({**CLAIMS, "groups": ["nobody"]}),
        signed({**CLAIMS, "groups": {"sre": 1}}),
        signed({**CLAIMS, "sub": "local:root"}),
        signed({**CLAIMS, "sub": "a\nb"}),
        signed(CLAIMS, OTHER_KEY),
        signed(CLAIMS, kid="unknown"),
        signed(CLAIMS, kid="ed"),
        signed(CLAIMS, crit=["exp"]),
        unsigned(),
        by_public_key(),
        signed(CLAIMS)[:-2],
        signed({**CLAIMS, "x": "y" * 9000}),
        "a.b.c",
        "..",
        "",
        "\x00.\xff.é",
        "e30." * 2 + "x",
    ],
    ids=range(24),
)
async def test_a_token_that_does_not_hold_is_nobodys(issuers: Path, token: str) -> None:
    assert await read_issuers(issuers).person(token) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("jwks: keys.json", "jwks: http://login.example.com/keys"),
            "jwt.yaml:5:11: error: is not an https URL",
        ),
        (("jwks: keys.json", "jwks: none.json"), "cannot be used"),
        (("jwks: keys.json", "jwks: jwt.yaml"), "not a JWK set"),
        (("    audiences: [envoy-tap]\n", ""), "has no audiences"),
        (("    teams: org.teams", "    algorithms: [HS256]"), "'HS256' is not allowed"),
        (
            ("{claim: groups, viewer: [everyone], operator: [sre], admin: [sre-leads]}", "{claim: x}"),
            "gives nobody",
        ),
        (("teams:", "team:"), "unknown key 'team'"),
        (("issuers:", "issuer:"), "has no issuers"),
    ],
)
def test_a_file_of_issuers_that_cannot_be_used_is_named(
    issuers: Path, change: tuple[str, str], said: str
) -> None:
    issuers.write_text(FILE.replace(*change), "utf-8")
    with pytest.raises(InvalidConfigurationError) as refused:
        read_issuers(issuers)
    assert said in str(refused.value)


async def test_keys_of_a_url_are_fetched_when_they_are_needed(caplog: pytest.LogCaptureFixture) -> None:
    fetches: list[str] = []
    answers: list[bytes | Exception] = [json.dumps({"keys": [EC_JWK]}).encode()]
    clock = Clock()

    def fetch(url: str) -> bytes:
        fetches.append(url)
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers[-1]

    keys = UrlKeys("https://login.example.com/keys", fetch, clock)
    assert await keys.key("ec")
    assert await keys.key(None), "the only key needs no id"
    assert await keys.key("new") is None
    assert len(fetches) == 1, "an unknown id alone does not make it ask again at once"
    answers.append(json.dumps({"keys": [EC_JWK, {**ED_JWK, "kid": "new"}]}).encode())
    clock.advance(RETRY_S + 1)
    assert await keys.key("new")
    assert await keys.key(None) is None
    answers.append(ValueError("away"))
    clock.advance(MAX_AGE_S + 1)
    with caplog.at_level(logging.ERROR):
        assert await keys.key("ec"), "what was fetched last is used for a while"
    assert "cannot be had: away" in caplog.text
    clock.advance(MAX_STALE_S)
    assert await keys.key("ec") is None


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": 1}]}'])
def test_what_is_no_set_of_keys_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="JWK set"):
        jwks_module.parsed(text)


PAYMENTS = Rule("payments", ("payments-*",), ("/orders/**",), Limits(600, 100, 1 << 20, 4096, 10))
OLGA = Person("olga", Role.OPERATOR, frozenset({"payments"}))
SMALL = Limits(60, 10, 1000, 100, 1)


def asked(predicate: str = "all", **more: Any) -> Session:
    return session("0123456789ab", predicate, **{"limits": SMALL, **more})


def test_a_rule_narrows_what_is_asked_for() -> None:
    found = Rules([PAYMENTS]).granted(OLGA, asked("status=5xx or method=GET"))
    assert found.nodes.clusters == ("payments-*",)
    assert printed(found.predicate) == 'path like "/orders/**" and (status = 5xx or method = "GET")'
    assert (found.team, found.paths, found.needs_approval) == ("payments", ("/orders/**",), False)
    narrower = Rules([PAYMENTS]).granted(
        OLGA, asked(nodes=NodeSelector(clusters=("payments-eu", "payments-a*")))
    )
    assert narrower.nodes.clusters == ("payments-eu", "payments-a*")


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"limits": replace(SMALL, body_bytes=5000)}, "limits.body_bytes"),
        ({"limits": replace(SMALL, duration_s=601)}, "limits.duration_s"),
        *(
            ({"nodes": NodeSelector(clusters=(cluster,))}, "nodes.clusters")
            for cluster in ("orders", "*", "pay*", "payments?eu", "payments", "[p]ayments-x", "*payments-*")
        ),
    ],
    ids=str,
)
def test_what_goes_beyond_a_rule_is_denied(more: dict[str, Any], place: str) -> None:
    with pytest.raises(DeniedError) as denied:
        Rules([PAYMENTS]).granted(OLGA, asked(**more))
    assert denied.value.path == place


def test_who_has_no_rule_taps_nothing_and_an_admin_is_bound_by_none() -> None:
    rules = Rules([PAYMENTS])
    with pytest.raises(DeniedError, match="no rule lets bob tap"):
        rules.granted(Person("bob", Role.OPERATOR, frozenset({"orders"})), asked())
    assert rules.granted(Person("adam", Role.ADMIN), asked()) == asked()
    assert Rules().granted(OLGA, asked()) == asked()
    assert Rules([replace(PAYMENTS, team="*")]).granted(Person("bob", Role.OPERATOR), asked()).team == "*"


def test_a_rule_without_approval_comes_before_one_with() -> None:
    wide = Rule("payments", approval=True)
    rules = Rules([wide, PAYMENTS])
    assert not rules.granted(OLGA, asked()).needs_approval
    waiting = rules.granted(OLGA, asked(limits=replace(SMALL, duration_s=7200)))
    assert (waiting.needs_approval, waiting.expires_at_s) == (True, 1_000_000 + 3600)


def test_paths_count_however_they_are_written() -> None:
    def on(path: bytes) -> bool:
        return within(("/orders/**",), exchange(request=Message(((":path", path),))))

    assert on(b"/orders/1?x=/login")
    assert on(b"/orders/%31")
    for path in (b"/orders/../login", b"/orders/%2e%2e/login", b"/orders/..%2flogin", b"/order", b"//login"):
        assert not on(path), path
    assert not within(("/orders/**",), exchange(request=None))
    assert within((), exchange(request=None))


def test_one_sees_the_sessions_of_ones_team_and_of_those_that_a_rule_names() -> None:
    rules = Rules(
        [PAYMENTS, Rule("support", sees=frozenset({"payments"})), Rule("watch", sees=frozenset({"*"}))]
    )
    theirs = replace(asked(), team="payments", who="olga")
    other, orders = Person("otto", Role.OPERATOR, frozenset({"payments"})), replace(asked(), team="orders")
    support = Person("sue", Role.VIEWER, frozenset({"support"}))
    watch = Person("wes", Role.VIEWER, frozenset({"watch"}))
    nobody, adam = Person("bob", Role.OPERATOR), Person("adam", Role.ADMIN)
    assert [rules.sees(each, theirs) for each in (OLGA, other, support, watch, nobody, adam)] == [
        True,
        True,
        True,
        True,
        False,
        True,
    ]
    assert [rules.controls(each, theirs) for each in (OLGA, other, support, nobody, adam)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert not rules.sees(OLGA, orders)
    assert rules.sees(OLGA, replace(orders, who="olga")), "one's own"
    assert Rules().controls(nobody, orders), "without a file roles alone decide"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: []", "rules.yaml:1:8: error: is an empty list"),
        ("rules: [{}]", "has no team"),
        ("rules: [{team: 'a b'}]", "'a b' is not a name"),
        ("rules: [{team: a, paths: [orders]}]", "is not a path"),
        ("rules: [{team: a, limits: {duration: 1}}]", "unknown key 'duration'"),
        ("rules: [{team: a, limits: {duration_s: 1000000}}]", "out of range"),
        ("rules: [{team: a, approval: maybe}]", "must be a boolean"),
        ("rules: [{team: a, clusters: []}]", "empty list"),
        ("rules: [{team: a, paths: }]", "has no value"),
        ("- {team: a}", "has no rules"),
        ("", "has no rules"),
    ],
)
def test_a_file_of_rules_that_cannot_be_used_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidConfigurationError) as refused:
        read_rules(path)
    assert said in str(refused.value)


async def test_a_change_counts_at_once_and_a_broken_one_does_not(tmp_path: Path) -> None:
    tokens, rules = tmp_path / "tokens.yaml", tmp_path / "rules.yaml"
    sha256 = hashlib.sha256(b"t0ken").hexdigest()
    tokens.write_text(f"- {{name: olga, role: operator, teams: [payments], sha256: {sha256}}}", "utf-8")
    rules.write_text(
        "rules: [{team: payments, limits: {duration_s: 60, body_bytes: 4096}, sees: [a]}]", "utf-8"
    )
    authority = Authority(tokens, None, rules)
    assert authority.files == [tokens, rules]
    assert await authority.person("t0ken") == OLGA
    assert await authority.person("another") is None
    rules.write_text("rules: [{team: orders}]", "utf-8")
    authority.reload()
    with pytest.raises(DeniedError):
        authority.rules.granted(OLGA, asked())
    tokens.write_text("- {name: olga}", "utf-8")
    with pytest.raises(InvalidConfigurationError):
        authority.reload()
    assert await authority.person("t0ken") == OLGA
