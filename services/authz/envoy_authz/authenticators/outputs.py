"""What a verified token becomes on the way to the upstream: headers from its payload and its claims."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from envoy_authz.authenticators.model import JwtRule
from envoy_authz.core.authentication import Headers, VerifiedToken

MAX_VALUE_LENGTH = 16_384
"""How long a header's value may become, in characters."""

# A value with a control character in it is none (RFC 9110 section 5.5), and Envoy would make it an error.
_VALUE = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Outputs:
    """The headers that one rule sets."""

    payload_header: str
    claim_headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, rule: JwtRule) -> "Outputs":
        """Return the outputs of *rule*."""
        return cls(rule.output_payload_to_header, rule.output_claim_to_headers)

    def headers(self, token: VerifiedToken, payload: str) -> Headers:
        """Return the headers for *token*, whose payload as received is *payload* (base64url without padding).

        A claim that is absent, that is neither text, integer nor boolean, or that no header can hold, sets none.
        """
        made: dict[str, str] = {}
        if self.payload_header:
            made[self.payload_header] = payload
        for header, claim in self.claim_headers:
            value = _text(find_claim(token.claims, claim))
            if len(value) <= MAX_VALUE_LENGTH and _VALUE.fullmatch(value):
                made[header] = value
        return tuple(made.items())


def find_claim(claims: Mapping[str, object], name: str) -> object:
    """Return the claim *name*, or what a path of claims (`realm.role`) leads to; None without it."""
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""
