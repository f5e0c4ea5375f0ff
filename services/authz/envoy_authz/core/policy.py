"""The model of Istio's `AuthorizationPolicy` (security.istio.io/v1), as far as this service decides by it.

Strings are patterns as Istio writes them: `exact`, `prefix*`, `*suffix`, `*` (anything but nothing). An empty tuple
is a field that was not given.
"""

from dataclasses import dataclass
from enum import Enum

Patterns = tuple[str, ...]


class Action(Enum):
    """What a policy does with a request that one of its rules matches (`spec.action`)."""

    ALLOW = "ALLOW"
    DENY = "DENY"


@dataclass(frozen=True, slots=True)
class Source:
    """Who calls (`from.source`); all fields given must match.

    Principals are compared with the SPIFFE identity of the peer, with or without `spiffe://`. A caller without an
    identity matches no principal, and therefore every `not_principals`.
    """

    principals: Patterns = ()
    not_principals: Patterns = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What is called (`to.operation`); all fields given must match.

    Paths are compared with the normalized path, without query and fragment (see `paths.normalize`).
    """

    methods: Patterns = ()
    not_methods: Patterns = ()
    paths: Patterns = ()
    not_paths: Patterns = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `spec.rules`: any of `sources` (`from`) and any of `operations` (`to`); empty is unconditional."""

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; it matches when any of its rules does.

    `Policy("p")` is Istio's `spec: {}`: it allows nothing, so that everything no other policy allows is denied.
    `Policy("p", rules=(Rule(),))` is `rules: [{}]` and matches everything.
    """

    name: str
    namespace: str = ""
    action: Action = Action.ALLOW
    rules: tuple[Rule, ...] = ()

    @property
    def full_name(self) -> str:
        """`namespace/name`, or `name` alone when there is no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name
