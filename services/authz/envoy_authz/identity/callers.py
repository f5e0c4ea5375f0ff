"""Who the calling workload is, proven: by Envoy's `source.principal`, by the whole certificate, or by a trusted proxy."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from envoy_authz.core.request import RequestView
from envoy_authz.identity.certificate import CertificateError, Certificates
from envoy_authz.identity.spiffe import MAX_ID_BYTES, SpiffeId, TrustDomains
from envoy_authz.identity.xfcc import XfccError, forwarded_identity

XFCC = "x-forwarded-client-cert"
_REMEMBERED = 4096


class Proof(Enum):
    """What proves who the peer is: the name that Envoy read, or the certificate itself."""

    PRINCIPAL = "principal"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Peers:
    """How callers are known.

    `forwarded_by` are the proxies (SPIFFE IDs) whose `x-forwarded-client-cert` says who their own client is;
    `trusted_hops` of them stand before this Envoy, and each appended an element.
    """

    proof: Proof = Proof.PRINCIPAL
    aliases: Mapping[str, str] = field(default_factory=dict)
    forwarded_by: frozenset[str] = frozenset()
    trusted_hops: int = 1


class Callers:
    """Names the caller of a request. *clock* gives unix seconds. Used by one thread at a time."""

    def __init__(self, peers: Peers, clock: Callable[[], float] = time.time) -> None:
        """Raise ValueError for an alias or a proxy that is none."""
        self._by_certificate = peers.proof is Proof.CERTIFICATE
        self._domains = TrustDomains(peers.aliases)
        proxies = {text: self._domains.principal(text) for text in peers.forwarded_by}
        for text, proxy in proxies.items():
            if proxy is None:
                raise ValueError(f"{text!r} is no SPIFFE ID")
        self._forwarded_by = frozenset(str(proxy) for proxy in proxies.values())
        self._hops = peers.trusted_hops
        self._certificates = Certificates()
        self._clock = clock
        self._known: dict[str, str] = {}

    @property
    def is_plain(self) -> bool:
        """Whether the name that Envoy read is all there is to it, so that nothing shown can be wrong."""
        return not self._by_certificate and not self._forwarded_by

    def identify(self, request: RequestView) -> str:
        """Return the SPIFFE ID of the caller in its trust domain's own name; empty without a proven one. Never raises."""
        try:
            return self.prove(request)
        except (CertificateError, XfccError):
            return ""

    def prove(self, request: RequestView) -> str:
        """Return the same; raises CertificateError or XfccError for what was shown and proves nothing."""
        peer = self._certified(request) if self._by_certificate else self._named(request.source_principal)
        if peer not in self._forwarded_by:
            return peer
        header = request.header(XFCC)
        return "" if header is None else self._canonical(forwarded_identity(header, self._hops))

    def _certified(self, request: RequestView) -> str:
        text = request.source_certificate
        if text:
            return self._canonical(self._certificates.read(text).spiffe_id(self._clock()))
        if request.source_principal:
            raise CertificateError("Envoy did not send the certificate (include_peer_certificate)")
        return ""

    def _named(self, principal: str) -> str:
        known = self._known.get(principal)
        if known is None:
            identity = self._domains.principal(principal)
            known = "" if identity is None else str(identity)
            if len(principal) > MAX_ID_BYTES:
                return known
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[principal] = known
        return known

    def _canonical(self, identity: SpiffeId) -> str:
        return str(self._domains.canonical(identity))
