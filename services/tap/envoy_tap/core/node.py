"""Proxies as they introduce themselves, and which of them a session wants."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from envoy_tap.core.exchange import Node

NAMESPACE = "envoy_tap"
DEFAULT_DRIVER = "lua"
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Locality:
    """envoy.config.core.v3.Locality; what a proxy doesn't tell is ""."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: its name, its metadata (nested names joined by dots, values as text), and where it runs."""

    node: Node
    metadata: Labels = ()
    locality: Locality = field(default_factory=Locality)

    def label(self, name: str) -> str:
        """Return what the metadata says at `envoy_tap.<name>`; "" if it says nothing."""
        return dict(self.metadata).get(f"{NAMESPACE}.{name}", "")

    @property
    def driver(self) -> str:
        """The driver by which this proxy is tapped."""
        return self.label("driver") or DEFAULT_DRIVER


@dataclass(frozen=True, slots=True)
class NodeSelector:
    """Which proxies: all that are given must hold; of several ids or clusters one must, and `*` in them is any text."""

    ids: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    metadata: Labels = ()
    locality: Locality = field(default_factory=Locality)

    def selects_name(self, node: Node) -> bool:
        """Whether what an exchange tells of its proxy fits."""
        return _one_of(self.ids, node.id) and _one_of(self.clusters, node.cluster)

    def selects(self, proxy: Proxy) -> bool:
        """Whether *proxy* is one of these."""
        wanted, found = self.locality, proxy.locality
        places = (
            (wanted.region, found.region),
            (wanted.zone, found.zone),
            (wanted.sub_zone, found.sub_zone),
        )
        return (
            self.selects_name(proxy.node)
            and set(self.metadata) <= set(proxy.metadata)
            and all(place in {"", there} for place, there in places)
        )


def _one_of(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
