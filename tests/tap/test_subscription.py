"""One proxy's ECDS stream, request by request, with a clock that the test turns."""

from dataclasses import dataclass, field

import pytest
from envoy_data_plane.envoy.config.core.v3 import Locality as EnvoyLocality
from envoy_data_plane.envoy.config.core.v3 import Node as EnvoyNode
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse, Resource
from envoy_data_plane.google.protobuf import Any, Struct
from envoy_data_plane.google.rpc import Status

from envoy_tap.core.exchange import Node
from envoy_tap.core.node import Locality
from envoy_tap.core.session import Session
from envoy_tap.slot.introduction import introduced
from envoy_tap.slot.resources import TYPE_URLS, slot_resource
from envoy_tap.slot.subscription import TYPE_URL, Reply, Subscription
from tests.tap.building import NODE, Clock, session

TTL_S = 30
SLOT = "envoy_tap_slot"


@dataclass
class Proxy:
    """A proxy that subscribes, sees what is due and answers it."""

    subscription: Subscription = field(default_factory=lambda: Subscription(slot_resource, TTL_S))
    clock: Clock = field(default_factory=Clock)
    target: Session | None = None
    nonce: str = ""
    names: tuple[str, ...] = (SLOT,)

    def asks(self, *names: str) -> Reply:
        self.names = names
        node = EnvoyNode(id="edge-1", cluster="edge")
        return self.subscription.receive(
            DiscoveryRequest(node=node, type_url=TYPE_URL, resource_names=[*names], response_nonce=self.nonce)
        )

    @property
    def sessions(self) -> tuple[Session, ...]:
        return () if self.target is None else (self.target,)

    def due(self) -> DiscoveryResponse | None:
        response = self.subscription.due(self.sessions, self.clock())
        if response is not None:
            self.nonce = response.nonce
        return response

    def is_sent(self) -> DiscoveryResponse:
        response = self.due()
        assert response is not None
        return response

    def acks(self, nonce: str | None = None) -> Reply:
        return self._answers(nonce)

    def nacks(self, text: str, nonce: str | None = None) -> Reply:
        return self._answers(nonce, Status(code=13, message=text))

    @property
    def wakes_in_s(self) -> float | None:
        return self.subscription.wake_in_s(self.sessions, self.clock())

    def _answers(self, nonce: str | None, error: Status | None = None) -> Reply:
        return self.subscription.receive(
            DiscoveryRequest(
                type_url=TYPE_URL,
                resource_names=[*self.names],
                response_nonce=self.nonce if nonce is None else nonce,
                error_detail=error,
            )
        )


@pytest.fixture
def proxy() -> Proxy:
    """A proxy that has asked for its slot."""
    proxy = Proxy()
    assert proxy.asks(SLOT) is Reply.NONE
    return proxy


def target(clock: Clock, tap_id: str = "tap-1", for_s: int = 600) -> Session:
    return session(tap_id, now_s=clock(), for_s=for_s)


def resource(response: DiscoveryResponse) -> Resource:
    (packed,) = response.resources
    return Resource.parse(packed.value)


def content(response: DiscoveryResponse) -> TypedExtensionConfig:
    packed = resource(response).resource
    assert packed is not None
    found = TypedExtensionConfig.parse(packed.value)
    assert found.name == resource(response).name == SLOT
    return found


def typed_config(response: DiscoveryResponse) -> Any:
    found = content(response).typed_config
    assert found is not None
    return found


def is_noop(response: DiscoveryResponse) -> bool:
    """Whether the slot holds a Lua filter without a script."""
    found = typed_config(response)
    return (found.type_url, found.value) == (TYPE_URLS[1], b"")


def test_nothing_is_due_before_a_name_is_asked_for() -> None:
    proxy = Proxy()
    assert not proxy.subscription.asks
    assert proxy.due() is None
    assert proxy.wakes_in_s is None


def test_without_a_target_the_slot_is_a_noop_that_lasts(proxy: Proxy) -> None:
    response = proxy.is_sent()
    assert (response.type_url, is_noop(response)) == (TYPE_URL, True)
    assert resource(response).ttl is None
    assert proxy.acks() is Reply.ACK
    proxy.clock.advance(1e6)
    assert proxy.due() is None
    assert proxy.wakes_in_s is None


def test_a_target_is_a_script_with_a_time_to_live(proxy: Proxy) -> None:
    proxy.is_sent()
    proxy.acks()
    proxy.target = target(proxy.clock)
    response = proxy.is_sent()
    lua = Lua.parse(typed_config(response).value)
    assert lua.default_source_code is not None
    assert "envoy_on_request" in (lua.default_source_code.inline_string or "")
    ttl = resource(response).ttl
    assert ttl is not None
    assert ttl.total_seconds() == TTL_S


def test_an_ack_settles_the_slot(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock)
    version = proxy.is_sent().version_info
    assert not proxy.subscription.has_settled(proxy.sessions)
    assert (proxy.subscription.slot.sent_version, proxy.subscription.slot.acked_version) == (version, "")
    assert proxy.acks() is Reply.ACK
    assert proxy.subscription.has_settled(proxy.sessions)
    slot = proxy.subscription.slot
    assert (slot.node, slot.tap_ids, slot.acked_version, slot.nack) == (NODE, ("tap-1",), version, "")


def test_a_target_of_the_same_name_is_not_taken_for_the_one_before(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock)
    proxy.is_sent()
    proxy.acks()
    proxy.target = target(proxy.clock, for_s=601)
    assert not proxy.subscription.has_settled(proxy.sessions)


def test_going_back_to_what_was_acked_is_settled_by_a_new_ack_only(proxy: Proxy) -> None:
    first = proxy.target = target(proxy.clock)
    proxy.is_sent()
    proxy.acks()
    proxy.target = None
    proxy.is_sent()
    proxy.target = first
    proxy.is_sent()
    assert not proxy.subscription.has_settled((first,))


def test_a_nack_is_told_and_not_repeated(proxy: Proxy) -> None:
    noop = proxy.is_sent().version_info
    proxy.acks()
    proxy.target = target(proxy.clock)
    refused = proxy.is_sent().version_info
    assert proxy.nacks("script load error: line 3") is Reply.NACK
    slot = proxy.subscription.slot
    assert (slot.nack, slot.sent_version, slot.acked_version) == ("script load error: line 3", refused, noop)
    assert proxy.subscription.has_settled(proxy.sessions)
    proxy.clock.advance(10 * TTL_S)
    assert proxy.due() is None
    assert proxy.wakes_in_s == 300
    proxy.clock.advance(300)
    proxy.target = None
    assert is_noop(proxy.is_sent())
    assert proxy.subscription.slot.nack == ""


def test_a_nack_without_a_text_is_one_and_a_long_one_is_cut(proxy: Proxy) -> None:
    proxy.is_sent()
    proxy.nacks("")
    assert proxy.subscription.slot.nack == "refused without a text"
    proxy.nacks("x" * 10_000)
    assert len(proxy.subscription.slot.nack) == 2000


def test_an_answer_to_an_older_response_says_nothing(proxy: Proxy) -> None:
    first = proxy.is_sent().nonce
    proxy.target = target(proxy.clock)
    proxy.is_sent()
    assert proxy.acks(first) is Reply.NONE
    assert proxy.nacks("old", first) is Reply.NONE
    assert not proxy.subscription.slot.settled
    assert proxy.subscription.slot.nack == ""


def test_a_target_is_repeated_every_third_of_its_time_to_live(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock)
    first = proxy.is_sent()
    proxy.acks()
    assert proxy.wakes_in_s == TTL_S / 3
    proxy.clock.advance(TTL_S / 3 - 0.1)
    assert proxy.due() is None
    proxy.clock.advance(0.1)
    again = proxy.is_sent()
    assert (again.version_info, again.resources) == (first.version_info, first.resources)
    assert again.nonce != first.nonce
    assert proxy.subscription.slot.settled


def test_a_clock_set_back_does_not_silence_the_heartbeat(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock)
    proxy.is_sent()
    proxy.clock.advance(-3600)
    assert proxy.due() is not None


def test_the_time_to_live_ends_with_the_target(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock, for_s=7)
    ttl = resource(proxy.is_sent()).ttl
    assert ttl is not None
    assert ttl.total_seconds() == 7
    proxy.acks()
    assert proxy.wakes_in_s == 7
    proxy.clock.advance(6.5)
    assert proxy.wakes_in_s == 0.5
    proxy.clock.advance(0.5)
    proxy.target = None
    assert is_noop(proxy.is_sent())


def test_a_time_to_live_is_never_zero(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock, for_s=1)
    proxy.clock.advance(0.9)
    ttl = resource(proxy.is_sent()).ttl
    assert ttl is not None
    assert ttl.total_seconds() == 1


def test_other_names_are_answered_anew(proxy: Proxy) -> None:
    proxy.is_sent()
    proxy.acks()
    assert proxy.asks(SLOT, "second", SLOT) is Reply.ACK
    response = proxy.is_sent()
    assert [Resource.parse(packed.value).name for packed in response.resources] == [SLOT, "second"]


def test_no_names_unsubscribe(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock)
    proxy.is_sent()
    proxy.asks()
    assert not proxy.subscription.asks
    assert proxy.due() is None
    assert proxy.wakes_in_s is None


def test_a_proxy_that_asks_for_thousands_of_names_gets_a_few(proxy: Proxy) -> None:
    proxy.asks(*map(str, range(5000)))
    assert len(proxy.is_sent().resources) == 64


def test_a_node_of_absurd_length_is_cut() -> None:
    proxy = Proxy()
    node = EnvoyNode(id="x" * 100_000, cluster="y" * 100_000)
    proxy.subscription.receive(DiscoveryRequest(node=node, resource_names=[SLOT]))
    assert proxy.subscription.slot.node == Node("x" * 1024, "y" * 1024)


def test_the_script_names_the_proxy_that_asked(proxy: Proxy) -> None:
    proxy.target = target(proxy.clock)
    own = proxy.is_sent().version_info
    other = Proxy(target=proxy.target)
    other.subscription.receive(DiscoveryRequest(node=EnvoyNode(id="edge-2"), resource_names=[SLOT]))
    assert other.is_sent().version_info != own


def test_a_proxy_tells_its_metadata_and_where_it_runs() -> None:
    told = {"env": "prod", "mesh": {"id": "m-1", "on": True}, "n": 2, "list": ["x"]}
    node = EnvoyNode(
        id="edge-1", metadata=Struct.from_dict(told), locality=EnvoyLocality(region="eu", zone="1")
    )
    node = EnvoyNode.parse(bytes(node))
    found = introduced(node)
    assert dict(found.metadata) == {"env": "prod", "mesh.id": "m-1", "mesh.on": "true", "n": "2"}
    assert found.locality == Locality("eu", "1", "")
