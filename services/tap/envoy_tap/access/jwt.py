"""People by JWT (RFC 7519): whom an issuer vouches for, and in which role."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from envoy_tap.access.jwks import KeySource
from envoy_tap.access.people import Person, Role

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MAX_TOKEN_CHARS = 8192
_LEEWAY_S = 30
_MAX_TEAMS = 64
_SUBJECT_CHARS = 32
# No colon: the names of those who came without a token have one.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|+/-]{0,127}")
_TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer whose tokens count, if they are for one of *audiences* and signed by one of *algorithms*.

    Claims are named, or reached by dots (`realm_access.roles`); *roles* has the values of *role_claim* that give a
    role. Who has none of them is not let in. Without *team_claim* nobody has a team.
    """

    issuer: str
    audiences: tuple[str, ...]
    keys: KeySource
    algorithms: tuple[str, ...]
    name_claim: str
    role_claim: str
    roles: Mapping[Role, frozenset[str]]
    team_claim: str = ""

    async def person(self, token: str, header: Mapping[str, Any]) -> Person | None:
        """Return who presents *token*, None if it does not hold."""
        key_id = header.get("kid")
        if header.get("alg") not in self.algorithms or not isinstance(key_id, str | None):
            return None
        key = await self.keys.key(key_id)
        # A key that says what it is for is used for nothing else (RFC 7517, 4.2 and 4.4).
        if (
            key is None
            or key.public_key_use not in {None, "sig"}
            or not _fits(key.algorithm_name, header["alg"])
        ):
            return None
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(self.algorithms),
                audience=list(self.audiences),
                issuer=self.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (PyJWTError, ValueError, TypeError):
            return None
        return self._person(claims)

    def _person(self, claims: Mapping[str, Any]) -> Person | None:
        name = _claim(claims, self.name_claim)
        given = set(_texts(_claim(claims, self.role_claim)))
        held = [role for role, values in self.roles.items() if values & given]
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not held:
            return None
        teams = _texts(_claim(claims, self.team_claim)) if self.team_claim else []
        teams = [each for each in teams[:_MAX_TEAMS] if _TEAM.fullmatch(each)]
        return Person(name, max(held), frozenset(teams), _subject(self.issuer, claims.get("sub"), name))


class Issuers:
    """The issuers of a file."""

    def __init__(self, issuers: Sequence[Issuer] = ()) -> None:
        self._by_name = {each.issuer: each for each in issuers}

    async def person(self, token: str) -> Person | None:
        """Return who presents *token*, None if it does not hold."""
        if not self._by_name or len(token) > MAX_TOKEN_CHARS or token.count(".") != 2:  # noqa: PLR2004 - RFC 7515, 7.1
            return None
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except (PyJWTError, ValueError, TypeError, RecursionError):
            return None
        # What a header declares critical must be understood (RFC 7515, 4.1.11), and nothing is.
        issuer = self._by_name.get(str(claims.get("iss")))
        return None if issuer is None or "crit" in header else await issuer.person(token, header)


def _subject(issuer: str, sub: object, name: str) -> str:
    """Return one text for a person of *issuer*; without a subject it is the name that tells them apart."""
    who = ["sub", sub] if isinstance(sub, str) and sub else ["name", name]
    return hashlib.sha256(json.dumps([issuer, *who]).encode()).hexdigest()[:_SUBJECT_CHARS]


def _fits(of_key: str, of_token: str) -> bool:
    # PyJWT takes RS256 for an RSA key that names no algorithm, so an RSA key fits its whole family.
    rsa = {"RS", "PS"}
    return of_key == of_token or {of_key[:2], of_token[:2]} <= rsa


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(value: Any) -> list[str]:
    # `scope` is one text of words (RFC 8693, 4.2), groups are lists.
    found = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [each for each in found if isinstance(each, str)]
