"""What the doctor looks at: an Envoy's HTTP connection managers, their filters and routes, and its clusters."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from envoy_sidecar.config.documents import Node
from envoy_sidecar.doctor import view

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
EXT_AUTHZ = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
RATELIMIT = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
TAP = "envoy.extensions.filters.http.tap.v3.Tap"
LUA = "envoy.extensions.filters.http.lua.v3.Lua"
MATCHED = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
SLOT_TYPES = (TAP, LUA, MATCHED)
"""What the tap service may push into its slot."""


@dataclass(frozen=True, slots=True)
class HttpFilter:
    """One entry of `http_filters`: `type` and `config` of what is in it, None and empty for a slot that ECDS fills."""

    entry: Node
    name: str
    type: str
    config: Node | None

    @property
    def is_tap_slot(self) -> bool:
        """Whether ECDS fills this, and with what the tap service pushes."""
        discovery = view.field(self.entry, "config_discovery")
        if discovery is None:
            return False
        pushed = {_name(item) for item in view.items(discovery, "type_urls")}
        default = view.typed(view.field(discovery, "default_config"))
        # A Lua filter that ECDS fills may be anyone's; behind a matcher it is tap's.
        defaults = {TAP, LUA} if MATCHED in pushed else {TAP}
        return (
            TAP in pushed or (default is not None and default.name in defaults) or "tap" in self.name.lower()
        )


@dataclass(frozen=True, slots=True)
class Manager:
    """An HTTP connection manager: its listener, its filter chain, its filters in their order, its routes if known."""

    listener: str
    chain: Node
    node: Node
    filters: tuple[HttpFilter, ...]
    routes: Node | None

    def where(self, part: str = "the HttpConnectionManager") -> str:
        """Say what *part* of this is."""
        return f"{part} of listener {self.listener}"

    def first(self, type_: str) -> HttpFilter | None:
        """Return the first filter of a type; None if there is none."""
        return next((each for each in self.filters if each.type == type_), None)

    def tap_slot(self) -> HttpFilter | None:
        """Return the slot that the tap service fills; None if there is none."""
        return next((each for each in self.filters if each.is_tap_slot), None)

    def is_before(self, one: HttpFilter, other: HttpFilter) -> bool:
        """Whether a request meets *one* before the *other*."""
        return self.filters.index(one) < self.filters.index(other)

    @property
    def wants_client_certificates(self) -> bool:
        """Whether who connects has to show a certificate."""
        tls = view.typed(view.field(self.chain, "transport_socket", "typed_config"))
        return tls is not None and view.flag(tls.node, "require_client_certificate")


@dataclass(frozen=True, slots=True)
class Configuration:
    """An Envoy's configuration, from a file or a running one.

    `roots` are its listeners and clusters, for what is looked for anywhere. `live` says that nodes have no line.
    `more_clusters` and says that a cluster which is not here may come from a control plane. `version` is a live one's.
    """

    origin: str
    root: Node
    node: Node | None
    listeners: tuple[Node, ...]
    clusters: Mapping[str, Node]
    routes: Mapping[str, Node] = field(default_factory=dict)
    extensions: Mapping[str, Node] = field(default_factory=dict)
    more_clusters: bool = False
    live: bool = False
    version: tuple[int, int] | None = None
    managers: tuple[Manager, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "managers", tuple(self._managers()))

    @property
    def network_filters(self) -> frozenset[str]:
        """The types of all network filters of its listeners, without their packages: `TcpProxy`."""
        return frozenset(typed.name.rpartition(".")[2] for _, _, typed in self._network_filters())

    def _managers(self) -> Iterator[Manager]:
        for name, chain, typed in self._network_filters():
            if typed.name == MANAGER:
                yield self._manager(name, chain, typed.node)

    def _network_filters(self) -> Iterator[tuple[str, Node, view.Typed]]:
        """Yield each network filter with the name of its listener and its filter chain."""
        for number, listener in enumerate(self.listeners):
            name = view.text(listener, "name") or f"#{number}"
            default = view.field(listener, "default_filter_chain")
            for chain in (*view.items(listener, "filter_chains"), *(() if default is None else (default,))):
                for network_filter in view.items(chain, "filters"):
                    typed = view.typed(view.field(network_filter, "typed_config"))
                    if typed is not None:
                        yield name, chain, typed

    def _manager(self, listener: str, chain: Node, node: Node) -> Manager:
        filters = tuple(self._http_filter(entry) for entry in view.items(node, "http_filters"))
        inline = view.field(node, "route_config")
        routes = (
            inline if inline is not None else self.routes.get(view.text(node, "rds", "route_config_name"))
        )
        return Manager(listener, chain, node, filters, routes)

    def _http_filter(self, entry: Node) -> HttpFilter:
        name = view.text(entry, "name")
        typed = view.typed(view.field(entry, "typed_config"))
        if typed is None and view.field(entry, "config_discovery") is not None:
            typed = view.typed(view.field(self.extensions.get(name), "typed_config"))
        return HttpFilter(entry, name, typed.name if typed else "", typed.node if typed else None)


def walk(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield *nodes* and all that is below them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend((node.mapping or {}).values())
        waiting.extend(node.sequence or ())


def _name(type_url: Node) -> str:
    return str(type_url.scalar).rpartition("/")[2]
