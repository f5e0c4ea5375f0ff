"""Between discovery messages and limits as documents: besides `wire`, what imports generated code here."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from google.protobuf.message import DecodeError

from envoy_ratelimit.config.inline import node_of
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.pb.common_pb2 import Node as XdsNode
from envoy_sidecar.pb.common_pb2 import Status
from envoy_sidecar.pb.ratelimit_config_pb2 import (
    DiscoveryRequest,
    DiscoveryResponse,
    RateLimitConfig,
    RateLimitConfigDescriptor,
    RateLimitConfigPolicy,
    RateLimitConfigUnit,
)

TYPE_URL = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_INVALID_ARGUMENT = 3  # google.rpc.Code


class Update(NamedTuple):
    """One response of the server: all limits there are, each resource still serialized, with its type."""

    version: str
    nonce: str
    type_url: str
    resources: tuple[tuple[str, bytes], ...]


def make_node(node_id: str, cluster: str = "", metadata: Mapping[str, str] | None = None) -> bytes:
    """Return who asks, serialized, for `make_request`."""
    node = XdsNode(id=node_id, cluster=cluster)
    if metadata:
        node.metadata.update(dict(metadata))
    return node.SerializeToString()


def make_request(node: bytes, version: str, nonce: str = "", error: str = "") -> bytes:
    """Return a serialized DiscoveryRequest: a subscription without *nonce*, an ACK with it, a NACK with *error*.

    *version* is that of the limits that serve now, or empty.
    """
    request = DiscoveryRequest(
        version_info=version, node=XdsNode.FromString(node), type_url=TYPE_URL, response_nonce=nonce
    )
    if error:
        request.error_detail.CopyFrom(Status(code=_INVALID_ARGUMENT, message=error))
    return request.SerializeToString()


def read_update(payload: bytes) -> Update:
    """Read a serialized DiscoveryResponse. Raises ValueError."""
    try:
        message = DiscoveryResponse.FromString(payload)
    except DecodeError:
        raise ValueError("this is not a DiscoveryResponse") from None
    resources = tuple((resource.type_url, resource.value) for resource in message.resources)
    return Update(message.version_info, message.nonce, message.type_url, resources)


def documents_of(update: Update) -> list[Node]:
    """Return each resource as the document that a file would hold; its position names it `xds:NAME`.

    Raises InvalidConfigurationError for resources that are not RateLimitConfig messages.
    """
    findings: list[Finding] = []
    documents: list[Node] = []
    for place, (type_url, value) in enumerate(update.resources):
        position = Position(f"xds:resources[{place}]")
        if type_url != TYPE_URL:
            findings.append(Finding(position, f"the resource is a {type_url!r}", f"send {TYPE_URL}"))
            continue
        try:
            config = RateLimitConfig.FromString(value)
        except DecodeError:
            findings.append(Finding(position, "the resource is no RateLimitConfig: it is malformed"))
            continue
        place_of = Position(f"xds:{config.name}") if config.name else position
        documents.append(node_of(_document(config), place_of))
    if findings:
        raise InvalidConfigurationError(findings)
    return documents


def _document(config: RateLimitConfig) -> dict[str, object]:
    document: dict[str, object] = {"descriptors": _descriptors(config.descriptors)}
    return {"domain": config.domain, **document} if config.domain else document


def _descriptors(messages: Iterable[RateLimitConfigDescriptor]) -> list[object]:
    return [_descriptor(message) for message in messages]


def _descriptor(message: RateLimitConfigDescriptor) -> dict[str, object]:
    """Write only what was set: what is not there in YAML and what is empty in protobuf mean the same."""
    fields: dict[str, object] = {"key": message.key}
    if message.value:
        fields["value"] = message.value
    if message.HasField("rate_limit"):
        fields["rate_limit"] = _policy(message.rate_limit)
    for flag in ("shadow_mode", "detailed_metric", "quota_mode"):
        if getattr(message, flag):
            fields[flag] = True
    if message.descriptors:
        fields["descriptors"] = _descriptors(message.descriptors)
    return fields


def _policy(message: RateLimitConfigPolicy) -> dict[str, object]:
    fields: dict[str, object] = {}
    known = RateLimitConfigUnit.values()
    unit = RateLimitConfigUnit.Name(message.unit) if message.unit in known else str(int(message.unit))
    if message.unlimited:
        fields["unlimited"] = True
    else:
        fields["requests_per_unit"] = message.requests_per_unit
    if message.unit or not message.unlimited:
        fields["unit"] = unit.lower()
    if message.name:
        fields["name"] = message.name
    if message.replaces:
        fields["replaces"] = [{"name": replaced.name} for replaced in message.replaces]
    return fields
