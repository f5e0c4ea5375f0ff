"""What answers have beside their statuses, held against Envoy's own messages; and requests of absurd sizes."""

import json
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.service.ratelimit.v3 import RateLimitResponse
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.core.limiter import Plan, Status, Verdict
from envoy_ratelimit.core.response import X_RATELIMIT, HeaderNames, ResponseOptions, header_values, problem
from envoy_ratelimit.core.rule import Rate, Rule, Unit
from envoy_ratelimit.core.rules import Descriptor, Domain, Limit, compile_rules
from envoy_ratelimit.core.token_bucket import MICROSECONDS
from envoy_ratelimit.handler import RateLimitHandler
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.wire import MAX_DESCRIPTORS, Encoder
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitRequest
from envoy_sidecar.transport.port import Call, Failure

OVER, OK = Verdict.OVER_LIMIT, Verdict.OK
FIVE = Rule("d", "five", Rate(5, Unit.MINUTE), name="five")
TEN = Rule("d", "ten", Rate(10, Unit.HOUR), metadata={"tier": "gold", "weights": [1.5, None, True]})
FREE = Rule("d", "free", None)
SLOW, QUICK, BAN = (
    Rule("d", name, Rate(requests, Unit.DAY), quota_mode=True)
    for name, requests in (("slow", 1), ("quick", 2), ("ban", 0))
)
NAMES = HeaderNames()


def headers(*statuses: Status | None, over: bool = False, names: HeaderNames = NAMES) -> dict[str, str]:
    return dict(header_values((over, [*statuses]), names))


def test_headers_are_of_the_least_that_remains_and_of_the_longest_reset_of_several_such() -> None:
    assert headers(
        (TEN, OK, 3, 7 * MICROSECONDS), (FIVE, OK, 1, 5), None, (FREE, Verdict.UNLIMITED, 0, 0)
    ) == {
        "ratelimit-limit": "5",
        "ratelimit-remaining": "1",
        "ratelimit-reset": "1",
    }
    tied = headers((TEN, OK, 0, 9 * MICROSECONDS), (FIVE, OK, 0, 5 * MICROSECONDS), names=X_RATELIMIT)
    assert tied == {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}


def test_without_a_limit_there_are_no_headers() -> None:
    assert headers(None, (FREE, Verdict.UNLIMITED, 0, 0), (FIVE, Verdict.FAILED_OPEN, 0, None)) == {}
    assert headers((FIVE, Verdict.FAILED_CLOSED, 0, None), over=True) == {}


def test_retry_after_is_the_longest_wait_of_what_refused_and_absent_where_waiting_does_not_help() -> None:
    waits = headers((FIVE, OVER, 0, 1), (TEN, OVER, 2, 8_000_001), (TEN, OK, 9, 60 * MICROSECONDS), over=True)
    assert waits["retry-after"] == "9"
    assert "retry-after" not in headers((FIVE, OVER, 0, 1), (TEN, OVER, 2, None), over=True)
    assert "retry-after" not in headers((FIVE, Verdict.SHADOWED, 0, 1))


def test_of_several_quotas_one_is_enough_to_wait_for() -> None:
    quotas: list[Status] = [(SLOW, OVER, 0, 60 * MICROSECONDS), (QUICK, OVER, 0, 9 * MICROSECONDS)]
    assert headers(*quotas, (BAN, OVER, 0, None), over=True)["retry-after"] == "9"
    assert headers(*quotas, (FIVE, OVER, 0, 30 * MICROSECONDS), over=True)["retry-after"] == "30"
    assert "retry-after" not in headers((BAN, OVER, 0, None), (TEN, OVER, 0, 5), over=True)


def test_what_the_store_could_not_say_leaves_open_how_long_to_wait() -> None:
    assert "retry-after" not in headers((FIVE, OVER, 0, 5), (TEN, Verdict.FAILED_CLOSED, 0, None), over=True)


def test_a_problem_names_the_limits_and_no_value_of_the_request() -> None:
    assert json.loads(problem((True, [(FIVE, OVER, 0, 8_000_001), (TEN, OK, 1, 5), None]))) == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "over the limit",
        "limits": [{"name": "five", "limit": "5/MINUTE", "remaining": 0}],
        "retry_after_s": 9,
    }
    gone = json.loads(problem((True, [(FIVE, Verdict.FAILED_CLOSED, 0, None)])))
    assert gone["detail"] == "the limit could not be checked"
    assert "retry_after_s" not in gone


EVERYTHING = ResponseOptions(headers=NAMES, dynamic_metadata=True, body="problem")


@given(
    over=st.booleans(),
    values=st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=4),
    verdict=st.sampled_from([OK, OVER, Verdict.SHADOWED, Verdict.OVER_QUOTA]),
    remaining=st.integers(0, 2**32 - 1),
    hits=st.integers(0, 2**32 - 1),
)
def test_envoy_reads_what_is_beside_the_statuses(
    over: bool, values: list[tuple[str, str]], verdict: Verdict, remaining: int, hits: int
) -> None:
    plan = Plan("d", [TEN], (), [(values, None, None)], hits)
    response = RateLimitResponse.parse(
        Encoder(EVERYTHING).encode((over, [(TEN, verdict, remaining, 1)]), plan)
    )
    found = {header.key: header.value for header in response.response_headers_to_add}
    assert found["ratelimit-remaining"] == str(remaining)
    assert ("content-type" in found) == bool(response.raw_body) == over
    metadata: Any = response.dynamic_metadata
    fields = metadata.to_dict()  # plain values
    assert fields["descriptors"] == [{"entries": [f"{key}={value}" for key, value in values]}]
    assert ("metadata" in fields) == (verdict in {OK, Verdict.SHADOWED})
    assert fields.get("hitsAddend", 0) == hits


RULES = compile_rules([Domain("d", (Descriptor("k", "", Limit(Rate(5, Unit.MINUTE))),))])


def ask(request: RateLimitRequest) -> bytes | Failure:
    (answer,) = RateLimitHandler(RULES, MemoryStore())([Call(request.SerializeToString())])
    return answer


def asking(descriptors: int, value: str = "v", entries: int = 1) -> RateLimitRequest:
    request = RateLimitRequest(domain="d")
    for _ in range(descriptors):
        descriptor = request.descriptors.add()
        for _ in range(entries):
            descriptor.entries.add(key="k", value=value)
    return request


def test_a_request_may_have_a_thousand_descriptors_and_no_more() -> None:
    assert isinstance(ask(asking(MAX_DESCRIPTORS)), bytes)
    refused = ask(asking(10_000))
    assert refused == Failure(grpc.StatusCode.INVALID_ARGUMENT, "descriptors: 10000 are more than 1000")


@pytest.mark.parametrize(
    "request_", [asking(2, "v" * 1_000_000), asking(1000, entries=100), asking(1, "\x00"), asking(1, "")]
)
def test_a_request_of_absurd_size_is_decided(request_: RateLimitRequest) -> None:
    assert isinstance(ask(request_), bytes)
