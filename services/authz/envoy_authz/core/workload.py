"""What a SPIFFE identity says of a workload, as Istio writes it: `spiffe://<domain>/ns/<namespace>/sa/<account>`."""

from functools import lru_cache
from typing import NamedTuple

from envoy_authz.core.patterns import SPIFFE_SCHEME

_NAMESPACED = 2
_WHOLE = 4


class Workload(NamedTuple):
    """Parts of an identity; each is empty when the identity does not hold it. `account` is `namespace/name`."""

    trust_domain: str
    namespace: str
    account: str


NOBODY = Workload("", "", "")


@lru_cache(maxsize=4096)
def workload_of(principal: str) -> Workload:
    """Take a principal apart; one that is no SPIFFE identity says nothing. Never raises."""
    if not principal.startswith(SPIFFE_SCHEME):
        return NOBODY
    domain, *path = principal[len(SPIFFE_SCHEME) :].split("/")
    if not domain:
        return NOBODY
    namespace = path[1] if len(path) >= _NAMESPACED and path[0] == "ns" else ""
    account = (
        f"{namespace}/{path[3]}" if namespace and len(path) == _WHOLE and path[2] == "sa" and path[3] else ""
    )
    return Workload(domain, namespace, account)
