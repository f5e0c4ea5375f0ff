"""The wire adapter, held against Envoy's own messages (envoy-data-plane) and against hostile bytes."""

import tracemalloc
from contextlib import suppress
from datetime import timedelta

import pytest
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    RateLimitDescriptor,
    RateLimitDescriptorEntry,
    RateLimitDescriptorRateLimitOverride,
)
from envoy_data_plane.envoy.service.ratelimit.v3 import (
    RateLimitRequest,
    RateLimitResponse,
    RateLimitResponseCode,
    RateLimitResponseDescriptorStatus,
    RateLimitResponseRateLimit,
    RateLimitResponseRateLimitUnit,
)
from envoy_data_plane.envoy.type.v3 import RateLimitUnit
from hypothesis import example, given
from hypothesis import strategies as st

from envoy_ratelimit.core.limiter import UNLIMITED_REMAINING, Hits, Status, Verdict
from envoy_ratelimit.core.rule import Rate, Rule, Unit
from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, MICROSECONDS
from envoy_ratelimit.wire import MAX_HITS, Encoder, InvalidRequestError, read_request
from envoy_sidecar.pb.ratelimit_pb2 import RawRateLimitDescriptor, RawRateLimitRequest

UINT32 = st.integers(0, 2**32 - 1)
TEXT = st.text(max_size=20)
PASSES = {Verdict.OK, Verdict.SHADOWED, Verdict.UNLIMITED, Verdict.FAILED_OPEN, Verdict.REPLACED}
DECIDED = {Verdict.OK, Verdict.OVER_LIMIT, Verdict.SHADOWED, Verdict.OVER_QUOTA}


def entry(key: str = "k", value: str = "v") -> RateLimitDescriptorEntry:
    return RateLimitDescriptorEntry(key=key, value=value)


def request(*descriptors: RateLimitDescriptor, domain: str = "d", hits_addend: int = 0) -> bytes:
    return bytes(RateLimitRequest(domain=domain, descriptors=list(descriptors), hits_addend=hits_addend))


def own_hits(descriptor: RateLimitDescriptor, *, hits_addend: int = 0) -> int | None:
    return read_request(request(descriptor, hits_addend=hits_addend))[1][0][1]


@given(
    domain=st.text(min_size=1, max_size=20),
    descriptors=st.lists(
        st.tuples(
            st.lists(st.tuples(TEXT, TEXT), max_size=3),
            st.none() | st.integers(0, MAX_HITS),
            st.none() | st.tuples(UINT32, st.sampled_from([unit for unit in Unit if unit is not Unit.WEEK])),
        ),
        min_size=1,
        max_size=4,
    ),
    hits=UINT32,
)
def test_what_envoy_writes_is_what_is_read(
    domain: str,
    descriptors: list[tuple[list[tuple[str, str]], int | None, tuple[int, Unit] | None]],
    hits: int,
) -> None:
    messages = [
        RateLimitDescriptor(
            entries=[entry(key, value) for key, value in entries],
            hits_addend=own,
            limit=override
            and RateLimitDescriptorRateLimitOverride(
                requests_per_unit=override[0], unit=RateLimitUnit(override[1])
            ),
        )
        for entries, own, override in descriptors
    ]
    read: list[Hits] = [
        (entries, own, None if override is None else Rate(*override))
        for entries, own, override in descriptors
    ]
    assert read_request(request(*messages, domain=domain, hits_addend=hits)) == (domain, read, hits)


def test_an_own_cost_of_zero_is_not_the_absence_of_one() -> None:
    assert own_hits(RateLimitDescriptor(hits_addend=0)) == 0
    assert own_hits(RateLimitDescriptor()) is None


def test_negative_hits_negate_the_cost_that_holds() -> None:
    assert own_hits(RateLimitDescriptor(hits_addend=3, is_negative_hits=True), hits_addend=7) == -3
    assert own_hits(RateLimitDescriptor(is_negative_hits=True), hits_addend=7) == -7
    assert own_hits(RateLimitDescriptor(is_negative_hits=True)) == -1
    assert own_hits(RateLimitDescriptor(hits_addend=0, is_negative_hits=True)) == 0


def overriding(unit: int) -> bytes:
    """Return a request with an override of a unit that the enum need not have."""
    limit = b"\x08\x05" + (b"\x10" + bytes((unit,)) if unit else b"")
    descriptor = bytes(RateLimitDescriptor(entries=[entry()])) + b"\x12" + bytes((len(limit),)) + limit
    return b"\x0a\x01d\x12" + bytes((len(descriptor),)) + descriptor


def test_an_override_may_have_each_unit_of_envoys_enum() -> None:
    units = [read_request(overriding(number))[1][0][2] for number in range(1, 7)]
    assert [rate and rate.unit.name for rate in units] == ["SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR"]


VALID = request(RateLimitDescriptor(entries=[entry()]))
NO_UTF8 = b"\x0a\x02\xc3\x28"
MANY_ENTRIES = r"descriptors\[1\]\.entries: 101 are more than 100"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "domain: it must not be empty"),
        (request(RateLimitDescriptor(entries=[entry()]), domain=""), "domain: it must not be empty"),
        (request(), "descriptors: at least one is needed"),
        (VALID[:-1], "this is not a RateLimitRequest"),
        (b"\xff" * 40, "this is not a RateLimitRequest"),
        (b"\x0a\x02\xc3\x28", "descriptors: at least one is needed"),
        (b"\x0a\x02\xc3\x28" + b"\x12\x00" * 1001, "descriptors: 1001 are more than 1000"),
        (request(RateLimitDescriptor(), RateLimitDescriptor(entries=[entry()] * 101)), MANY_ENTRIES),
        (
            request(RateLimitDescriptor(), RateLimitDescriptor(entries=[entry()] * 101)) + NO_UTF8,
            MANY_ENTRIES,
        ),
        (b"\x0a\x02\xc3\x28\x12\x05", "this is not a RateLimitRequest: it is cut short or malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", "this is not a RateLimitRequest"),
        (
            request(RateLimitDescriptor(), RateLimitDescriptor(hits_addend=MAX_HITS + 1)),
            r"descriptors\[1\]\.hits_addend: 4294967297 is more than 4294967296",
        ),
        (overriding(0), r"descriptors\[0\]\.limit\.unit: 0 is not one of SECOND, MINUTE, .*YEAR"),
        (overriding(7), r"descriptors\[0\]\.limit\.unit: 7 is not one of"),
        (overriding(100), r"descriptors\[0\]\.limit\.unit: 100 is not one of"),
    ],
)
def test_what_cannot_be_decided_is_refused_by_the_name_of_its_field(payload: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        read_request(payload)


def test_a_descriptor_may_have_a_hundred_entries() -> None:
    ((entries, _, _),) = read_request(request(RateLimitDescriptor(entries=[entry()] * 100)))[1]
    assert len(entries) == 100


def test_no_more_descriptors_are_made_than_are_looked_at() -> None:
    payload = request() + b"\x12\x00" * 100_000
    tracemalloc.start()
    with pytest.raises(InvalidRequestError, match="descriptors: 100000 are more than 1000"):
        read_request(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def as_envoy_copies_headers(value: bytes, *, key: bytes = b"k", domain: bytes = b"d") -> bytes:
    descriptor = RawRateLimitDescriptor(entries=[RawRateLimitDescriptor.Entry(key=key, value=value)])
    descriptor.hits_addend.value = 3
    descriptor.limit.requests_per_unit, descriptor.limit.unit = 5, Unit.DAY  # type: ignore[assignment]
    plain = RawRateLimitDescriptor(entries=[RawRateLimitDescriptor.Entry(key=b"address", value=b"10.0.0.1")])
    message = RawRateLimitRequest(domain=domain, descriptors=[descriptor, plain], hits_addend=7)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"\xff", r"\xff"),
        (b"a\xffb", r"a\xffb"),
        (b"\xc3\x28", r"\xc3("),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
        ("é".encode() + b"\xe9", r"é\xe9"),
        (b"a\x00b\xff", "a\x00b\\xff"),
    ],
)
def test_bytes_that_are_no_utf8_lift_no_limit(value: bytes, text: str) -> None:
    assert read_request(as_envoy_copies_headers(value)) == (
        "d",
        [([("k", text)], 3, Rate(5, Unit.DAY)), ([("address", "10.0.0.1")], None, None)],
        7,
    )


def test_keys_and_domains_that_are_no_utf8_are_read_too() -> None:
    domain, descriptors, _ = read_request(as_envoy_copies_headers(b"v", key=b"k\xfe", domain=b"d\xfe"))
    assert (domain, descriptors[0][0]) == (r"d\xfe", [(r"k\xfe", "v")])


@given(value=st.binary(max_size=40))
def test_any_bytes_of_a_header_are_a_value(value: bytes) -> None:
    _, descriptors, _ = read_request(as_envoy_copies_headers(value))
    assert descriptors[0][0] == [("k", value.decode("utf-8", "backslashreplace"))]
    assert descriptors[1][0] == [("address", "10.0.0.1")]


@given(payload=st.binary(max_size=80))
@example(payload=b"\x12" * 80)
@example(payload=b"\x0b" * 80)
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with suppress(InvalidRequestError):
        read_request(payload)


@given(cut=st.integers(0, len(VALID)), flip=st.integers(0, len(VALID) * 8 - 1))
def test_damaged_requests_are_read_or_refused(cut: int, flip: int) -> None:
    damaged = bytearray(VALID)
    damaged[flip // 8] ^= 1 << flip % 8
    for payload in (VALID[:cut], bytes(damaged), bytes(damaged[:cut])):
        with suppress(InvalidRequestError):
            read_request(payload)


RATES = st.builds(Rate, UINT32, st.sampled_from(Unit), st.just(1))


@st.composite
def statuses(draw: st.DrawFn) -> Status | None:
    if draw(st.booleans()):
        return None
    rate = draw(RATES)
    verdict = draw(st.sampled_from(Verdict))
    name = draw(TEXT)
    if verdict is Verdict.UNLIMITED:
        return Rule("d", "p", None, name), verdict, UNLIMITED_REMAINING, 0
    if verdict not in DECIDED:
        return Rule("d", "p", rate, name), verdict, 0, None
    reset_us = draw(st.none() | st.integers(0, MAX_SPAN_US) | st.integers(0, 5000 * MICROSECONDS))
    return Rule("d", "p", rate, name), verdict, draw(UINT32 | st.integers(0, 5000)), reset_us


def as_envoy_writes_it(status: Status | None) -> RateLimitResponseDescriptorStatus:
    if status is None:
        return RateLimitResponseDescriptorStatus(code=RateLimitResponseCode.OK)
    rule, verdict, remaining, reset_us = status
    message = RateLimitResponseDescriptorStatus(
        code=RateLimitResponseCode.OK if verdict in PASSES else RateLimitResponseCode.OVER_LIMIT,
        limit_remaining=remaining,
    )
    if verdict in DECIDED and rule.rate is not None:
        message.current_limit = RateLimitResponseRateLimit(
            name=rule.name,
            requests_per_unit=rule.rate.requests_per_unit,
            unit=RateLimitResponseRateLimitUnit(rule.rate.unit),
        )
        if reset_us is not None:
            message.duration_until_reset = timedelta(seconds=-(-reset_us // MICROSECONDS))
    return message


@given(over=st.booleans(), answered=st.lists(statuses(), max_size=5))
def test_responses_put_together_by_hand_are_the_ones_envoy_defines(
    over: bool, answered: list[Status | None]
) -> None:
    encoder = Encoder()
    expected = RateLimitResponse(
        overall_code=RateLimitResponseCode.OVER_LIMIT if over else RateLimitResponseCode.OK,
        statuses=[as_envoy_writes_it(status) for status in answered],
    )
    for _ in range(2):
        assert RateLimitResponse.parse(encoder.encode((over, answered))) == expected


def reset_seconds(reset_us: int) -> int:
    rule = Rule("d", "p", Rate(1, Unit.SECOND))
    response = RateLimitResponse.parse(Encoder().encode((False, [(rule, Verdict.OK, 0, reset_us)])))
    reset = response.statuses[0].duration_until_reset
    assert reset is not None
    return int(reset.total_seconds())


def test_a_reset_is_in_whole_seconds_and_never_too_early() -> None:
    assert [reset_seconds(us) for us in (0, 1, 999_999, 1_000_000, 1_000_001)] == [0, 1, 1, 1, 2]


def test_an_encoder_does_not_grow_with_every_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envoy_ratelimit.wire._MAX_HEADS", 3)
    encoder = Encoder()
    rules = [Rule("d", "override", Rate(number, Unit.HOUR)) for number in range(10)]
    payloads = [encoder.encode((False, [(rule, Verdict.OK, 1, 0)])) for rule in rules]
    assert len(encoder._heads) <= 3
    limits = [RateLimitResponse.parse(payload).statuses[0].current_limit for payload in payloads]
    assert [limit and limit.requests_per_unit for limit in limits] == list(range(10))
