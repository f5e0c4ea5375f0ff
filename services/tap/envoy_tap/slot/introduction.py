"""How a proxy introduces itself (envoy.config.core.v3.Node), as the core's own type; imports `envoy-data-plane`."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode

from envoy_tap.core.exchange import Node
from envoy_tap.core.node import Locality, Proxy

_MAX_CHARS = 1024
_MAX_LABELS = 256
_MAX_DEPTH = 4


def introduced(node: EnvoyNode) -> Proxy:
    """Return what *node* says of itself; what is of absurd length is cut."""
    place = node.locality
    metadata = {} if node.metadata is None else json.loads(node.metadata.to_json())
    return Proxy(
        Node(node.id[:_MAX_CHARS], node.cluster[:_MAX_CHARS]),
        tuple(sorted(islice(_labels(metadata, "", 0), _MAX_LABELS))),
        Locality()
        if place is None
        else Locality(place.region[:_MAX_CHARS], place.zone[:_MAX_CHARS], place.sub_zone[:_MAX_CHARS]),
    )


def _labels(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        for key, inner in value.items():
            yield from _labels(inner, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, str | bool | int | float):
        # A Struct knows only doubles; who writes 2 means 2.
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        text = value if isinstance(value, str) else json.dumps(number)
        yield path[:_MAX_CHARS], text[:_MAX_CHARS]
