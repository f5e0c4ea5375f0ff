"""How a set of policies decides, beside what stands in the policies."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from envoy_authz.core.paths import Normalization
from envoy_authz.core.policy import Action
from envoy_authz.core.request import RequestView


class PathAmbiguity(Enum):
    """What happens to an allowed request whose path another reader would read as one that is denied."""

    DENY = "deny"
    REPORT = "report"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Options:
    """`trusted_hops` is the number of proxies before Envoy whose X-Forwarded-For entries are believed.

    `default_action` is what happens when no ALLOW policy applies and no DENY policy matches: DENY here, where Istio
    has ALLOW. As soon as an ALLOW policy applies, one has to match.
    `identify` names the caller and never raises; None takes `source.principal` as Envoy sent it.
    """

    default_action: Action = Action.DENY
    root_namespace: str = "istio-system"
    trusted_hops: int = 0
    normalization: Normalization = Normalization.BASE
    path_ambiguity: PathAmbiguity = PathAmbiguity.DENY
    identify: Callable[[RequestView], str] | None = None
