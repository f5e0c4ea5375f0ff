"""The port of tap drivers: ways by which exchanges come out of a proxy, and what each of them can do."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig

from envoy_tap.core.node import Proxy
from envoy_tap.core.session import Session
from envoy_tap.slot.script import Setup


class Can(StrEnum):
    """What the capture suite tries on every driver (tests/conformance/tap), in the words of the table in the docs."""

    BOTH_HALVES = "headers and bodies of both halves"
    ONLY_TARGETED = "nothing of a request that no session wants leaves the proxy"
    LOCAL_REPLY = "answers that Envoy gives itself"
    BINARY = "bodies byte for byte"
    LARGE_BODY = "a body of 1 MiB, whole"
    CUT_BODY = "a body over the cap is cut, and marked truncated"
    CUT_IN_PROXY = "what is over the cap does not leave the proxy"
    TRAILERS = "trailers"
    RESET = "an answer that breaks off is marked incomplete"
    SEVERAL = "several sessions on one proxy, each with its own limits"
    REDACTED_BEFORE = "secrets are redacted before they leave the proxy's host"
    TARGETS_BY_ADDRESS = "conditions on the peer's address"
    ADDRESS = "the peer's address"
    PROTOCOL = "protocol"
    ROUTE = "route"
    UPSTREAM = "cluster, upstream host and response flags"
    LATENCY = "latency"


class DriverError(Exception):
    """A proxy that cannot be tapped in the way that it asks for; the message says what would be right."""


class Driver(Protocol):
    """One way; proxies choose theirs by `envoy_tap.driver` in their node's metadata."""

    @property
    def name(self) -> str:
        """What the metadata says: `lua`, `ext_proc`, `admin` or `native`."""

    @property
    def can(self) -> frozenset[Can]:
        """What it can do; the capture suite holds each driver to exactly this."""

    def resource(
        self, name: str, sessions: Sequence[Session], proxy: Proxy, setup: Setup
    ) -> TypedExtensionConfig:
        """Return what the slot *name* of *proxy* holds for *sessions*, the idle slot for none; raises DriverError."""
