"""Who the calling workload is: SPIFFE identities from Envoy, from the certificate, and from trusted proxies."""

from envoy_authz.identity.callers import Callers, Peers, Proof
from envoy_authz.identity.certificate import CertificateError, Certificates, PeerCertificate, read_certificate
from envoy_authz.identity.spiffe import InvalidSpiffeIdError, SpiffeId, TrustDomains, parse_spiffe_id
from envoy_authz.identity.xfcc import XfccError, forwarded_identity, parse_xfcc

__all__ = [
    "Callers",
    "CertificateError",
    "Certificates",
    "InvalidSpiffeIdError",
    "PeerCertificate",
    "Peers",
    "Proof",
    "SpiffeId",
    "TrustDomains",
    "XfccError",
    "forwarded_identity",
    "parse_spiffe_id",
    "parse_xfcc",
    "read_certificate",
]
