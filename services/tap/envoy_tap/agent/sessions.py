"""The agent's subscription: it stands in for its proxy at the tap service's ECDS; sans-IO."""

from dataclasses import dataclass, field
from math import inf
from typing import Any as Json
from typing import TypeVar

from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse, Resource
from envoy_data_plane.google.protobuf import Any, Struct
from envoy_data_plane.google.rpc import Status

from envoy_tap.core.exchange import Node
from envoy_tap.core.node import NAMESPACE
from envoy_tap.core.policy import Policy
from envoy_tap.core.session import Session, SessionError
from envoy_tap.core.spec import stored
from envoy_tap.slot.subscription import TYPE_URL

_T = TypeVar("_T")
RESOURCE = "envoy_tap_agent"
_INVALID_ARGUMENT = 3


@dataclass(frozen=True, slots=True)
class Told:
    """What the service wants of the agent, until *until_s* (unix seconds) if it says nothing more."""

    sessions: tuple[Session, ...] = ()
    policy: Policy = field(default_factory=Policy)
    until_s: float = inf
    version: str = ""
    nonce: str = ""


def first_request(node: Node) -> DiscoveryRequest:
    """Return the subscription of *node*, whose driver is this agent."""
    metadata = Struct.from_dict({NAMESPACE: {"driver": "admin"}})
    return DiscoveryRequest(
        node=EnvoyNode(id=node.id, cluster=node.cluster, metadata=metadata),
        type_url=TYPE_URL,
        resource_names=[RESOURCE],
    )


def answer(told: Told, refusal: str = "") -> DiscoveryRequest:
    """Acknowledge *told*, or say why it could not be done."""
    return DiscoveryRequest(
        version_info="" if refusal else told.version,
        type_url=TYPE_URL,
        resource_names=[RESOURCE],
        response_nonce=told.nonce,
        error_detail=Status(code=_INVALID_ARGUMENT, message=refusal) if refusal else None,
    )


def read(response: DiscoveryResponse, now_s: float) -> Told:
    """Return what *response* tells; raises ValueError for what is not from a tap service."""
    try:
        resource = _unpacked(response.resources[0], Resource)
        extension = _unpacked(resource.resource, TypedExtensionConfig)
        data: Json = _unpacked(extension.typed_config, Struct).to_dict()
        policy = Policy(tuple(data["never_paths"]), frozenset(data["never_headers"]))
        sessions = tuple(stored(_whole_numbers(each)) for each in data["sessions"])
    except (IndexError, KeyError, TypeError, SessionError) as error:
        raise ValueError(f"this is not what a tap service sends: {error!r}") from None
    until_s = inf if resource.ttl is None else now_s + resource.ttl.total_seconds()
    return Told(sessions, policy, until_s, response.version_info, response.nonce)


def _unpacked(found: Any | None, kind: type[_T]) -> _T:
    message = None if found is None else found.unpack()
    if not isinstance(message, kind):
        raise TypeError(f"{type(message).__name__} in place of {kind.__name__}")
    return message


def _whole_numbers(value: Json) -> Json:
    # A Struct knows only doubles.
    if isinstance(value, dict):
        return {name: _whole_numbers(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
