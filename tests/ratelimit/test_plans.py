"""Requests known by their bytes: decided like new ones, of a bounded number, and forgotten with their configuration."""

from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit import wire
from envoy_ratelimit.core.limiter import Limiter, Plan
from envoy_ratelimit.core.rule import Rate, Unit
from envoy_ratelimit.core.rules import Descriptor, Domain, Limit, Rules, compile_rules
from envoy_ratelimit.handler import RateLimitHandler
from envoy_ratelimit.plans import MAX_DESCRIPTORS, MAX_PAYLOAD_BYTES, PlanCache
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitDescriptor, RateLimitRequest
from envoy_sidecar.transport.port import Call


def limited_to(requests: int) -> Rules:
    return compile_rules([Domain("d", (Descriptor("user", "", Limit(Rate(requests, Unit.DAY))),))])


def request(user: str, hits: int = 0) -> bytes:
    message = RateLimitRequest(domain="d", hits_addend=hits)
    message.descriptors.add().entries.add(key="user", value=user)
    return message.SerializeToString()


class Planning:
    """Plans requests, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._limiter = Limiter(limited_to(5), MemoryStore())

    def __call__(self, payload: bytes) -> Plan:
        self.asked += 1
        return self._limiter.plan(*wire.read_request(payload))


def test_a_request_that_comes_again_and_again_stays_while_others_pass_by() -> None:
    planning = Planning()
    cache = PlanCache(planning, 8)
    often = request("ann")
    for number in range(100):
        for payload in (often, request(f"once-{number}")):
            assert cache.young.get(payload) or cache.find(payload)
        assert len(cache) <= 8
    assert planning.asked == 101


def test_none_is_remembered_if_so_configured_nor_what_is_large() -> None:
    long = request("u" * MAX_PAYLOAD_BYTES)
    many = RateLimitRequest(domain="d", descriptors=[RateLimitDescriptor()] * (MAX_DESCRIPTORS + 1))
    for cache, payload in (
        (PlanCache(Planning(), 0), request("ann")),
        (PlanCache(Planning(), 8), long),
        (PlanCache(Planning(), 8), many.SerializeToString()),
    ):
        assert cache.find(payload).takes == cache.find(payload).takes
        assert len(cache) == 0


def test_a_remembered_request_is_decided_by_the_limits_of_now() -> None:
    handler = RateLimitHandler(limited_to(9), MemoryStore())
    (before,) = handler([Call(request("ann"))])
    handler.swap(limited_to(0))
    (after,) = handler([Call(request("ann"))])
    assert before != after


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=6), max_size=12),
    st.integers(0, 4),
)
def test_answers_are_the_same_however_many_requests_are_remembered(
    batches: list[list[tuple[str, int]]], most: int
) -> None:
    remembering, reading = (
        RateLimitHandler(limited_to(5), MemoryStore(clock=lambda: 1_000_000), remembered=remembered)
        for remembered in (most, 0)
    )
    for batch in batches:
        calls = [Call(request(user, hits)) for user, hits in batch]
        assert remembering(calls) == reading(calls)
