"""The model of Istio's `AuthorizationPolicy` (security.istio.io/v1), and of what this service adds to it.

Strings are patterns as Istio writes them: `exact`, `prefix*`, `*suffix`, `*` (anything but nothing). An empty tuple
is a field that was not given.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Patterns = tuple[str, ...]


class Action(Enum):
    """What a policy does with a request that one of its rules matches (`spec.action`)."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"


@dataclass(frozen=True, slots=True)
class Source:
    """Who calls (`from.source`); all fields given must match.

    Principals are compared with the SPIFFE identity of the peer, with or without `spiffe://`; namespaces, service
    accounts (`namespace/name`) and trust domains are parts of it. A caller without an identity matches no principal,
    and therefore every `not_principals`. IP blocks are CIDRs or addresses: of the connection's peer, and (remote) of
    the client behind as many proxies as are trusted. Request principals are `issuer/subject` of a token.
    """

    principals: Patterns = ()
    not_principals: Patterns = ()
    request_principals: Patterns = ()
    not_request_principals: Patterns = ()
    namespaces: Patterns = ()
    not_namespaces: Patterns = ()
    service_accounts: Patterns = ()
    not_service_accounts: Patterns = ()
    trust_domains: Patterns = ()
    not_trust_domains: Patterns = ()
    ip_blocks: Patterns = ()
    not_ip_blocks: Patterns = ()
    remote_ip_blocks: Patterns = ()
    not_remote_ip_blocks: Patterns = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What is called (`to.operation`); all fields given must match.

    Paths are compared with the normalized path, without query and fragment (see `paths.normalize`), and may be
    templates with `{*}` and `{**}`. Hosts are compared with the authority, port included, in any case of letters.
    gRPC methods (`package.Service/Method`) are ours.
    """

    methods: Patterns = ()
    not_methods: Patterns = ()
    paths: Patterns = ()
    not_paths: Patterns = ()
    hosts: Patterns = ()
    not_hosts: Patterns = ()
    ports: tuple[int, ...] = ()
    not_ports: tuple[int, ...] = ()
    grpc_methods: Patterns = ()
    not_grpc_methods: Patterns = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """One of `when`: the attribute `key` matches any of `values` and none of `not_values`."""

    key: str
    values: Patterns = ()
    not_values: Patterns = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `spec.rules`: any of `sources` (`from`), any of `operations` (`to`), and all of `when`.

    Empty is unconditional. `expressions` are conditions in CEL, all of which must hold; they are ours.
    """

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()
    when: tuple[Condition, ...] = ()
    expressions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DenyResponse:
    """How a DENY policy answers (ours): an HTTP status from 400 to 599, headers, and problem details (RFC 9457).

    gRPC callers get `grpc_status` (1 to 16), and the problem's `detail`, else its `title`, as message; None leaves
    it to Envoy, which derives it from the HTTP status.
    """

    status: int = 403
    headers: tuple[tuple[str, str], ...] = ()
    problem: Mapping[str, object] | None = None
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One value to be set under `name`: the literal `value`, or what the attribute `source` (a key) holds."""

    name: str
    value: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Mutation:
    """What a matching ALLOW policy does to the request on its way to the upstream (ours).

    Headers and query parameters are overwritten; one whose attribute is absent is removed, or a client could forge it.
    """

    set_headers: tuple[Setting, ...] = ()
    remove_headers: tuple[str, ...] = ()
    set_query: tuple[Setting, ...] = ()
    remove_query: tuple[str, ...] = ()
    metadata: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy; it matches when any of its rules does.

    `Policy("p")` is Istio's `spec: {}`: it allows nothing, so that everything no other policy allows is denied.
    `Policy("p", rules=(Rule(),))` is `rules: [{}]` and matches everything. It applies to the workloads of its
    namespace (of all namespaces, if it has none or the root namespace) that have all labels of `selector`. With
    `dry_run` it is evaluated and never enforced.
    """

    name: str
    namespace: str = ""
    action: Action = Action.ALLOW
    rules: tuple[Rule, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False
    deny_response: DenyResponse | None = None
    mutation: Mutation | None = None

    @property
    def full_name(self) -> str:
        """`namespace/name`, or `name` alone when there is no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name
