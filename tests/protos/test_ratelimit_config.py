"""The schema of limits over xDS: the numbers and types of go-control-plane, and Envoy's discovery messages."""

import dataclasses
from typing import Any

import pytest
from envoy_data_plane.envoy.service.discovery import v3 as discovery
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from envoy_sidecar.pb import ratelimit_config_pb2 as pb

TYPE_NAMES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
# Read off the struct tags of github.com/envoyproxy/go-control-plane/ratelimit v0.1.0, rls_conf.pb.go; quota_mode off
# the same file at revision 0942e6cf7350.
GO = {
    "RateLimitConfig": {
        "name": (1, "string", False),
        "domain": (2, "string", False),
        "descriptors": (3, "message", True),
    },
    "RateLimitConfigDescriptor": {
        "key": (1, "string", False),
        "value": (2, "string", False),
        "rate_limit": (3, "message", False),
        "descriptors": (4, "message", True),
        "shadow_mode": (5, "bool", False),
        "detailed_metric": (6, "bool", False),
        "quota_mode": (7, "bool", False),
    },
    "RateLimitConfigPolicy": {
        "unit": (1, "enum", False),
        "requests_per_unit": (2, "uint32", False),
        "unlimited": (3, "bool", False),
        "name": (4, "string", False),
        "replaces": (5, "message", True),
    },
    "RateLimitConfigReplace": {"name": (1, "string", False)},
}


def fields_of(message: Descriptor) -> dict[str, tuple[int, str, bool]]:
    return {field.name: (field.number, TYPE_NAMES[field.type], field.is_repeated) for field in message.fields}


@pytest.mark.parametrize("name", GO)
def test_fields_are_those_of_go_control_plane(name: str) -> None:
    assert fields_of(pb.DESCRIPTOR.message_types_by_name[name]) == GO[name]


def test_units_are_those_of_go_control_plane() -> None:
    assert dict(pb.RateLimitConfigUnit.items()) == {
        "UNKNOWN": 0,
        "SECOND": 1,
        "MINUTE": 2,
        "HOUR": 3,
        "DAY": 4,
        "MONTH": 5,
        "YEAR": 6,
        "WEEK": 7,
    }


@pytest.mark.parametrize("name", ["DiscoveryRequest", "DiscoveryResponse"])
def test_discovery_is_envoys(name: str) -> None:
    theirs: Any = getattr(discovery, name)
    numbers = {field.name: field.metadata["betterproto"] for field in dataclasses.fields(theirs)}
    for field, (number, kind, repeated) in fields_of(pb.DESCRIPTOR.message_types_by_name[name]).items():
        assert numbers[field].number == number
        assert numbers[field].proto_type == kind
        assert bool(numbers[field].repeated) == repeated
