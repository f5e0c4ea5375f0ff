"""Refusals as the client reads them: the challenge of RFC 6750 section 3, or that of RFC 9449 section 7.1."""

from envoy_authz.core.authentication import Authentication, Refusal
from envoy_authz.tokens.algorithms import ALL
from envoy_authz.tokens.flaws import MESSAGES, Flaw

REALM = "envoy-authz"
_PROOFS = frozenset({Flaw.PROOF, Flaw.REPLAYED})
# None is the token's fault, and a client that is told `invalid_token` would throw a good one away.
_OURS = frozenset({Flaw.KEYS_UNAVAILABLE, Flaw.PENDING, Flaw.INTERNAL})


def challenge(flaw: Flaw) -> str:
    """Return the value of `www-authenticate` for a token with *flaw*."""
    if flaw in _OURS:
        return f'Bearer realm="{REALM}"'
    if flaw in _PROOFS:
        return (
            f'DPoP realm="{REALM}", error="invalid_dpop_proof", error_description="{MESSAGES[flaw]}", '
            f'algs="{" ".join(sorted(ALL))}"'
        )
    return f'Bearer realm="{REALM}", error="invalid_token", error_description="{MESSAGES[flaw]}"'


REFUSED = {
    flaw: Authentication(refusal=Refusal(flaw.value, MESSAGES[flaw], challenge(flaw))) for flaw in Flaw
}
"""The refusal for each flaw; the same object each time."""
