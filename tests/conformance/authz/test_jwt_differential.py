"""The same rules and tokens through real Envoy's own `jwt_authn` filter: the same decision, or a stricter one of ours.

What Envoy refuses is never let pass here, but for `scheme` and `numbers`. All known differences, with their reasons:

- `strict`: what RFC 8725 has refused and Envoy's reader passes over: `crit`, `b64`, duplicate members, padding, an `iat`
  in the future, times that are no numbers; a token without `kid` that more than one key fits.
- `several`: of several tokens all must be valid, and a place with two is ambiguous; Envoy is content with one of an issuer.
- `foreign`: a token at a place that is looked at, by an issuer that no rule names, is refused; to Envoy it is no token.
- `scheme`: Envoy compares `Bearer ` case-sensitively; RFC 9110 section 11.1 has schemes in any case. So `bearer` brings no
  token to Envoy and one to us: refused if it is bad, and if it is good its claims count.
- `numbers`: a claim that is a number compares as text here, and as nothing in Envoy.
- A wrong audience is 403 for Envoy and 401 for us (RFC 6750 section 3.1); both are refusals, and count as one decision.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from envoy_authz.authenticators.model import HeaderPlace, JwtRule, RequestAuthentication
from envoy_authz.authenticators.request_authentication import RequestAuthenticator
from envoy_authz.core import Condition, Policy, PolicySet, Request, Rule
from envoy_authz.tokens.sources import KeyRing
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from tests.authz.tokens.minting import (
    EC_KEYS,
    JWKS,
    OTHER_RSA_KEY,
    RSA_KEY,
    claims,
    jwks,
    public_jwk,
    segment,
    sign,
    token,
)
from tests.conformance.authz import envoy_jwt

SEED = 20261124
CASES = 48
REQUESTS_A_CASE = 60
FIRST, SECOND = "https://first.example", "https://second.example"
FIRST_KEYS = JWKS
SECOND_KEYS = jwks(public_jwk(OTHER_RSA_KEY, kid="rsa"), public_jwk(EC_KEYS["ES256"], kid="ES256"))
NOW_S = int(time.time())
LOOSER = {"scheme", "numbers"}
"""The kinds of difference in which ours may let pass what Envoy refuses."""


def signed(text: bytes, key: object) -> str:
    head = f"{segment({'alg': 'RS256', 'kid': 'rsa'})}.{segment(text)}"
    return f"{head}.{sign(head, 'RS256', key)}"


def minted() -> Iterator[tuple[str, str, str]]:
    """Yield (what it is, a kind of difference or nothing, token)."""
    for issuer, key in ((FIRST, RSA_KEY), (SECOND, OTHER_RSA_KEY)):
        good: dict[str, object] = {
            "iss": issuer, "sub": "alice", "iat": NOW_S - 10, "exp": NOW_S + 3600, "aud": "shop",
            "role": "admin", "groups": ["a", "b"], "scope": "read write", "realm": {"role": "r"},
        }  # fmt: skip
        text = json.dumps(good).encode()
        yield "good", "", token(good, key=key)
        changed: dict[str, dict[str, object]] = {
            "another audience": {"aud": "bank"}, "audiences": {"aud": ["x", "shop"]}, "no audience": {"aud": None},
            "expired": {"exp": NOW_S - 100}, "within the skew": {"exp": NOW_S - 30}, "not yet": {"nbf": NOW_S + 600},
            "no expiry": {"exp": None}, "no subject": {"sub": None}, "user": {"role": "user"},
            "role list": {"role": ["user", "admin"]}, "no role": {"role": None},
            "groups text": {"groups": "a"}, "no groups": {"groups": []},
        }  # fmt: skip
        for what, changes in changed.items():
            yield what, "", token(claims(**{**good, **changes}), key=key)
        yield "role number", "numbers", token({**good, "role": 5}, key=key)
        yield "iat in the future", "strict", token({**good, "iat": NOW_S + 600}, key=key)
        yield "exp as text", "strict", token({**good, "exp": str(NOW_S + 600)}, key=key)
        yield "another key", "", token(good, key=OTHER_RSA_KEY if key is RSA_KEY else RSA_KEY)
        yield "unknown kid", "", token(good, key=key, header={"kid": "x"})
        yield "no kid", "strict", token(good, key=key, kid=None)
        yield "another scheme's name", "", token(good, key=key, header={"alg": "PS256"})
        yield "HS256", "", token(good, key=key, header={"alg": "HS256"})
        yield "crit", "strict", token(good, key=key, header={"crit": ["x"]})
        yield "b64", "strict", token(good, key=key, header={"b64": True})
        yield "members twice", "strict", signed(text[:-1] + b',"role":"admin"}', key)
        yield "padding", "strict", token(good, key=key) + "="
        yield "none", "", f"{segment({'alg': 'none', 'kid': 'rsa'})}.{segment(good)}."
        yield "cut", "", token(good, key=key)[:-6]
    yield (
        "ES256",
        "",
        token(
            {"iss": SECOND, "sub": "eve", "exp": NOW_S + 600, "aud": "shop"}, algorithm="ES256", kid="ES256"
        ),
    )
    yield "foreign", "foreign", token({"iss": "https://third.example", "sub": "x", "exp": NOW_S + 600})
    yield "no issuer", "foreign", token({"sub": "x", "exp": NOW_S + 600})
    yield "nonsense", "foreign", "a.b.c"
    yield "one part", "foreign", "x"


POOL = list(minted())
CONDITIONS = [
    None,
    Condition("request.auth.claims[role]", ("admin",)),
    Condition("request.auth.claims[role]", ("ad*", "*er")),
    Condition("request.auth.claims[role]", ("*",)),
    Condition("request.auth.claims[role]", (), ("user",)),
    Condition("request.auth.claims[groups]", ("b",)),
    Condition("request.auth.claims[groups]", ("a",), ("b",)),
    Condition("request.auth.claims[realm][role]", ("r",)),
    Condition("request.auth.claims[sub]", ("alice",)),
]


def rule(chance: random.Random, issuer: str) -> JwtRule:
    where = chance.choice(["", "", "", "header", "param", "cookie", "both"])
    return JwtRule(
        issuer,
        chance.choice([(), ("shop",), ("bank", "shop")]),
        jwks=FIRST_KEYS if issuer == FIRST else SECOND_KEYS,
        from_headers=(HeaderPlace("x-jwt", chance.choice(["", "Token "])),)
        if where in {"header", "both"}
        else (),
        from_params=("t",) if where in {"param", "both"} else (),
        from_cookies=("c",) if where == "cookie" else (),
    )


def case(chance: random.Random) -> envoy_jwt.Case:
    issuers = chance.choice([[FIRST], [FIRST], [SECOND], [FIRST, SECOND]])
    # Envoy's condition is about the payload of one rule.
    return [rule(chance, issuer) for issuer in issuers], chance.choice(CONDITIONS) if len(
        issuers
    ) == 1 else None


class Sent(NamedTuple):
    """A request: its path, its headers line by line, and how it may differ."""

    path: str
    headers: list[tuple[str, str]]
    kinds: set[str]
    what: list[str]


def requests(chance: random.Random) -> Iterator[Sent]:
    for _ in range(REQUESTS_A_CASE):
        path, headers, kinds, what = "/", [], set(), []
        for _token in range(chance.choice([0, 1, 1, 1, 1, 1, 2])):
            name, kind, text = chance.choice(POOL)
            place = chance.choice(
                ["bearer", "bearer", "bearer", "other", "access_token", "t", "x-jwt", "Token ", "c"]
            )
            what.append(f"{name} at {place}")
            kinds |= {kind} if kind else set()
            if len(what) > 1:
                kinds.add("several")
            if place == "bearer":
                scheme = chance.choice(["Bearer ", "Bearer ", "Bearer ", "bearer "])
                kinds |= {"scheme"} if scheme[0] == "b" else set()
                headers.append(("authorization", scheme + text))
            elif place == "other":
                headers.append(("authorization", f"Basic {text}"))
            elif place in {"access_token", "t"}:
                path += f"{'&' if '?' in path else '?'}{place}={text}"
            elif place == "c":
                headers.append(("cookie", f"a=b; c={text}"))
            else:
                headers.append(("x-jwt", text if place == "x-jwt" else place + text))
        yield Sent(path, headers, kinds, what)


def envoys(connection: HTTPConnection, number: int, sent: Sent) -> int:
    connection.putrequest("GET", sent.path, skip_accept_encoding=True)
    connection.putheader(envoy_jwt.CASE_HEADER, str(number))
    for name, value in sent.headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    return response.status


def ours(authenticator: RequestAuthenticator, policies: PolicySet, sent: Sent) -> int:
    headers: dict[str, str] = {}
    for name, value in sent.headers:
        joint = "; " if name == "cookie" else ","
        headers[name] = f"{headers[name]}{joint}{value}" if name in headers else value
    request = Request("GET", sent.path, request_headers=headers)
    found = authenticator.authenticate(request)
    if found.refusal is not None:
        return 401
    return 200 if policies.decide(request, found).allowed else 403


def policies_of(condition: Condition | None) -> PolicySet:
    return PolicySet([Policy("claims", rules=(Rule(when=() if condition is None else (condition,)),))])


def test_envoys_own_filter_verifies_the_same(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    cases = [case(chance) for _ in range(CASES)]
    known: Counter[str] = Counter()
    answered: Counter[int] = Counter()
    unknown: list[str] = []
    with Processes(tmp_path) as processes:
        envoy = start_envoy(processes, envoy_jwt.config(cases))
        connection = HTTPConnection(LOOPBACK, envoy.port, timeout=30)
        for number, (rules, condition) in enumerate(cases):
            document = RequestAuthentication("jwt", rules=tuple(rules))
            authenticator = RequestAuthenticator([document], KeyRing())
            policies = policies_of(condition)
            for sent in requests(chance):
                theirs, answer = envoys(connection, number, sent), ours(authenticator, policies, sent)
                answered[answer] += 1
                if (theirs == 200) is (answer == 200):
                    continue
                excused = sent.kinds & LOOSER if answer == 200 else sent.kinds
                known["+".join(sorted(excused))] += 1
                if not excused:
                    places = [
                        (one.issuer, one.audiences, one.from_headers, one.from_params, one.from_cookies)
                        for one in rules
                    ]
                    unknown.append(f"{sent.what}: Envoy {theirs}, ours {answer}, {places}, {condition}")
        connection.close()
    print(f"seed {SEED}, answered {dict(answered)}, known differences {dict(known)}")  # noqa: T201 - shown on failure
    assert not unknown, f"{len(unknown)} of {CASES * REQUESTS_A_CASE}:\n" + "\n".join(unknown[:10])
    assert min(answered[200], answered[401]) > CASES * REQUESTS_A_CASE / 10
    assert answered[403] > 100
