"""Tokens bound to their sender: by certificate (RFC 8705) and by proof of possession (RFC 9449).

A token that says so is refused without the proof, whatever else is configured: shown by anybody else it is stolen.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Protocol

from envoy_authz.core.authentication import VerifiedToken
from envoy_authz.identity.certificate import CertificateError, Certificates
from envoy_authz.tokens.dpop import ProofVerifier, Target
from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.strict import decode_base64url

CERTIFICATE = "x5t#S256"
PROOF_KEY = "jkt"
_KNOWN = frozenset({CERTIFICATE, PROOF_KEY})


class Sender(Protocol):
    """The part of a request that proves who sends it; see `core.RequestView`."""

    @property
    def method(self) -> str:
        """The request's method."""

    @property
    def scheme(self) -> str:
        """The request's scheme."""

    @property
    def host(self) -> str:
        """The authority."""

    @property
    def path(self) -> str:
        """The request target."""

    @property
    def source_certificate(self) -> str:
        """The peer's certificate as URL-encoded PEM; empty without."""

    def header(self, name: str) -> str | None:
        """Return a header's value."""


def is_bound(token: VerifiedToken) -> bool:
    """Say whether *token* is bound to its sender (RFC 7800 section 3.1)."""
    return "cnf" in token.claims


class SenderChecker:
    """Checks that who sends a token is who it was issued to.

    *origin* (`https://shop.example`) is what clients take for scheme and authority when Envoy sees others, because
    something before it ends TLS or rewrites the host; empty takes the request's own.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        certificates: Certificates | None = None,
        proofs: ProofVerifier | None = None,
        origin: str = "",
    ) -> None:
        self._clock = clock
        self._certificates = Certificates() if certificates is None else certificates
        self._proofs = ProofVerifier(clock) if proofs is None else proofs
        self.origin = origin

    def check_bound(self, token: VerifiedToken, text: str, request: Sender, *, by_dpop: bool) -> None:
        """Check the sender of a *token* that is bound, or came with the scheme `DPoP`; raises TokenError."""
        if by_dpop or is_bound(token):
            self.check(token, text, request, by_dpop=by_dpop)

    def check(self, token: VerifiedToken, text: str, request: Sender, *, by_dpop: bool) -> None:
        """Check *token*, which came as *text*, with the scheme `DPoP` or not; raises TokenError."""
        confirmation = token.claims.get("cnf")
        if "cnf" not in token.claims:
            confirmation = {}
        elif not isinstance(confirmation, Mapping) or not confirmation or not _KNOWN.issuperset(confirmation):
            raise TokenError(Flaw.SENDER)
        if CERTIFICATE in confirmation:
            self._check_certificate(confirmation[CERTIFICATE], request)
        if by_dpop or PROOF_KEY in confirmation:
            thumbprint = confirmation.get(PROOF_KEY)
            proof = request.header("dpop")
            # A bound token as Bearer, and a DPoP one that is not bound, are both a downgrade (RFC 9449 section 7).
            if not by_dpop or proof is None or not isinstance(thumbprint, str):
                raise TokenError(Flaw.PROOF)
            self._proofs.check(proof, self._target(request), text, thumbprint)

    def _check_certificate(self, thumbprint: object, request: Sender) -> None:
        try:
            expected = decode_base64url(thumbprint) if isinstance(thumbprint, str) else b""
            certificate = self._certificates.read(request.source_certificate)
            certificate.check_time(self._clock())
        except (ValueError, CertificateError):
            raise TokenError(Flaw.SENDER) from None
        if not hmac.compare_digest(certificate.thumbprint, expected):
            raise TokenError(Flaw.SENDER)

    def _target(self, request: Sender) -> Target:
        origin = self.origin.rstrip("/") or f"{request.scheme}://{request.host}"
        return Target(request.method, origin + request.path)
