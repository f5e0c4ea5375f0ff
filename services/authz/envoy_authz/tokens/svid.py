"""JWT-SVIDs (SPIFFE JWT-SVID): a workload's identity in a token, verified by the bundle of its trust domain."""

from collections.abc import Mapping
from dataclasses import replace

from envoy_authz.core.authentication import VerifiedToken
from envoy_authz.identity.spiffe import InvalidSpiffeIdError, parse_spiffe_id, parse_trust_domain
from envoy_authz.tokens.algorithms import ALL
from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.jwt import Jwt
from envoy_authz.tokens.keys import KeySet, parse_jwks
from envoy_authz.tokens.verify import DEFAULT_SKEW_S, Expectations, KeySource, check_claims, check_signature

SVID_USES = frozenset({"jwt-svid"})
SVID_ALGORITHMS = ALL - {"EdDSA"}
_TYPES = frozenset({"", "jwt", "jose"})


def parse_bundle(data: bytes | str) -> KeySet:
    """Read the keys for JWT-SVIDs in a SPIFFE bundle (SPIFFE Trust Domain and Bundle, section 4); raises ValueError."""
    return parse_jwks(data, uses=SVID_USES)


class SvidVerifier:
    """Verifies JWT-SVIDs for any of *audiences*, by the keys of each trust domain in *bundles*.

    Raises ValueError without an audience, which every SVID must be for, and for a trust domain that is none.
    """

    def __init__(
        self,
        bundles: Mapping[str, KeySource],
        audiences: frozenset[str],
        *,
        skew_s: float = DEFAULT_SKEW_S,
    ) -> None:
        if not audiences:
            raise ValueError("an audience is needed: a JWT-SVID for anybody is for nobody")
        self._bundles = {parse_trust_domain(domain): source for domain, source in bundles.items()}
        self._expected = Expectations("", audiences, SVID_ALGORITHMS, require_expiry=True, skew_s=skew_s)

    def source(self, jwt: Jwt) -> KeySource:
        """Return the bundle of the trust domain that *jwt* claims to be of; raises TokenError without one."""
        subject = jwt.claims.get("sub")
        try:
            identity = parse_spiffe_id(subject if isinstance(subject, str) else "")
        except InvalidSpiffeIdError:
            raise TokenError(Flaw.SUBJECT) from None
        if not identity.path:
            raise TokenError(Flaw.SUBJECT)
        source = self._bundles.get(identity.trust_domain)
        if source is None:
            raise TokenError(Flaw.ISSUER)
        return source

    def verify(self, jwt: Jwt, now_s: float) -> VerifiedToken:
        """Return the token; its issuer is `spiffe://<trust domain>`, its subject the identity. Raises TokenError."""
        if jwt.type not in _TYPES:
            raise TokenError(Flaw.TYPE)
        check_signature(jwt, self.source(jwt), SVID_ALGORITHMS)
        issuer = jwt.claims.get("iss", "")
        # `iss` is optional and means nothing here: the trust domain in `sub` chose the keys.
        expected = replace(self._expected, issuer=issuer if isinstance(issuer, str) else "")
        token = check_claims(jwt.claims, expected, now_s)
        domain = parse_spiffe_id(token.subject).trust_domain
        return replace(token, issuer=f"spiffe://{domain}")
