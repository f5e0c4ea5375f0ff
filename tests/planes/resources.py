"""Resources as they stand in YAML, as the messages that a control plane sends."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from envoy_data_plane.google.protobuf import Any as EnvoyAny

ANY = "type.googleapis.com/"
CLUSTER = f"{ANY}envoy.config.cluster.v3.Cluster"
LISTENER = f"{ANY}envoy.config.listener.v3.Listener"
ROUTES = f"{ANY}envoy.config.route.v3.RouteConfiguration"
SECRET = f"{ANY}envoy.extensions.transport_sockets.tls.v3.Secret"
SLOT = f"{ANY}envoy.config.core.v3.TypedExtensionConfig"
_TYPE = re.compile(r"type\.googleapis\.com/((?:envoy|xds)\.[a-z0-9_.]+)\.[A-Z]\w+")


def packed(resource: Mapping[str, Any]) -> EnvoyAny:
    """Return a resource with its `@type`, strictly read: an unknown field or enum raises."""
    for type_url in _types(resource):
        matched = _TYPE.fullmatch(type_url)
        if matched is None:
            raise ValueError(f"{type_url} is no type of Envoy's")
        # A message is known once its module is imported.
        import_module(f"envoy_data_plane.{matched[1]}")
    any_: EnvoyAny = EnvoyAny.from_dict(resource)
    return any_


def _types(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _types(each)
    elif isinstance(value, Mapping):
        if "@type" in value:
            yield value["@type"]
        for each in value.values():
            yield from _types(each)
