"""The handler: batches answered in order with one call of the store, and never an exception."""

import logging
from collections.abc import Callable, Iterator, Sequence

import grpc
import pytest
from envoy_data_plane.envoy.service.ratelimit.v3 import RateLimitResponse, RateLimitResponseCode
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit import wire
from envoy_ratelimit.core.limiter import Answer as Decided
from envoy_ratelimit.core.limiter import FailurePolicy, Limiter, Plan
from envoy_ratelimit.core.rule import Rate, Unit
from envoy_ratelimit.core.rules import Descriptor, Domain, Limit, Rules, compile_rules
from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.core.token_bucket import Outcome
from envoy_ratelimit.handler import RateLimitHandler
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitRequest
from envoy_sidecar.transport.port import Answer, Call, Failure

OK, OVER_LIMIT = RateLimitResponseCode.OK, RateLimitResponseCode.OVER_LIMIT
BY_POLICY = {FailurePolicy.ALLOW: OK, FailurePolicy.DENY: OVER_LIMIT, FailurePolicy.LOCAL: OK}


def allowing(requests_per_day: int) -> Rules:
    return compile_rules(
        [
            Domain(
                "d",
                (
                    Descriptor("user", "", Limit(Rate(requests_per_day, Unit.DAY))),
                    Descriptor("banned", "", Limit(Rate(0, Unit.DAY))),
                    Descriptor("free", "", Limit(None)),
                ),
            )
        ]
    )


def call(key: str = "user", value: str = "ann", domain: str = "d") -> Call:
    message = RateLimitRequest(domain=domain)
    message.descriptors.add().entries.add(key=key, value=value)
    return Call(message.SerializeToString())


def code(answer: Answer) -> RateLimitResponseCode:
    assert isinstance(answer, bytes)
    return RateLimitResponse.parse(answer).overall_code


def codes(answers: Sequence[Answer]) -> list[RateLimitResponseCode]:
    return [code(answer) for answer in answers]


class WatchedStore:
    """A memory store that counts its calls, and fails by what it is told to."""

    def __init__(self) -> None:
        self._inner = MemoryStore(clock=lambda: 1_000_000)
        self.batches: list[int] = []
        self.failure: Exception | None = None

    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        self.batches.append(len(batch))
        if self.failure is not None:
            raise self.failure
        return self._inner.take(batch)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


def test_a_batch_is_answered_in_order_with_one_call_of_the_store(store: WatchedStore) -> None:
    handler = RateLimitHandler(allowing(2), store)
    answers = handler(
        [call(), call(), call("banned"), call(), call(value="bob"), call("free"), call("other")]
    )
    assert codes(answers) == [OK, OK, OVER_LIMIT, OVER_LIMIT, OK, OK, OK]
    assert store.batches == [5]


def test_what_has_no_limit_does_not_trouble_the_store(store: WatchedStore) -> None:
    handler = RateLimitHandler(allowing(2), store)
    assert codes(handler([call("free"), call("other"), call(domain="unknown")])) == [OK] * 3
    assert handler([]) == []
    assert store.batches == []


def test_the_same_request_is_charged_each_time(store: WatchedStore) -> None:
    handler = RateLimitHandler(allowing(3), store)
    long = call(value="x" * 10_000)
    assert codes(handler([call()] * 4)) == codes(handler([long] * 4)) == [OK, OK, OK, OVER_LIMIT]


def test_an_observer_sees_each_decision_and_its_fault_is_no_rpc_error(store: WatchedStore) -> None:
    seen: list[tuple[str, bool]] = []

    def observe(plan: Plan, answer: Decided) -> None:
        seen.append((plan.domain, answer[0]))
        if answer[0]:
            raise ZeroDivisionError

    handler = RateLimitHandler(allowing(1), store, observe=observe)
    answers = handler([call(), call(), call("other"), call(domain="made up")])
    assert codes(answers) == [OK, OVER_LIMIT, OK, OK]
    assert seen == [("d", False), ("d", True), ("d", False), ("", False)]
    assert handler.errors.value() == 1


def test_what_a_handler_counts_itself(store: WatchedStore) -> None:
    handler = RateLimitHandler(allowing(1), store)
    handler([call(), Call(b"\xff")])
    assert handler.invalid.value() == 1
    assert handler.store_failures.counts == {}
    assert handler.errors.value() == 0
    assert {tally.name for tally in handler.tallies} == {
        "ratelimit.invalid_requests",
        "ratelimit.store_failures",
        "ratelimit.errors",
    }


def test_what_cannot_be_read_is_an_invalid_argument_for_that_call_alone(store: WatchedStore) -> None:
    bad, good = RateLimitHandler(allowing(1), store)([Call(b""), call()])
    assert bad == Failure(grpc.StatusCode.INVALID_ARGUMENT, "domain: it must not be empty")
    assert code(good) is OK


@given(payloads=st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_get_an_answer(payloads: list[bytes]) -> None:
    handler = RateLimitHandler(allowing(1), MemoryStore())
    for answer in handler([Call(payload) for payload in payloads]):
        assert isinstance(answer, bytes) or answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert handler.errors.value() == 0


def test_new_rules_hold_from_the_next_batch_on(store: WatchedStore) -> None:
    handler = RateLimitHandler(allowing(1), store)
    new = allowing(0)

    class SwappingBatch(list[Call]):
        def __iter__(self) -> Iterator[Call]:
            yield call()
            handler.swap(new)
            yield call(value="bob")

    assert codes(handler(SwappingBatch([call(), call()]))) == [OK, OK]
    assert handler.rules is new
    assert codes(handler([call(), call(value="carl")])) == [OVER_LIMIT] * 2


def test_a_limit_that_stays_the_same_keeps_its_buckets(store: WatchedStore) -> None:
    handler = RateLimitHandler(allowing(1), store)
    assert codes(handler([call()])) == [OK]
    handler.swap(allowing(1))
    assert codes(handler([call()])) == [OVER_LIMIT]
    handler.swap(allowing(2))
    assert codes(handler([call()])) == [OK]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (FailurePolicy.ALLOW, [OK, OVER_LIMIT, OK, OK]),
        (FailurePolicy.DENY, [OVER_LIMIT, OVER_LIMIT, OK, OK]),
    ],
)
def test_a_store_that_fails_leaves_it_to_the_policy(
    store: WatchedStore, policy: FailurePolicy, expected: list[RateLimitResponseCode]
) -> None:
    handler = RateLimitHandler(allowing(5), store, on_store_failure=policy)
    store.failure = StoreError("timeout", "too late")
    assert codes(handler([call(), call("banned"), call("free"), call("other")])) == expected
    assert handler.store_failures.counts == {("timeout",): 1}
    assert handler.errors.value() == 0
    store.failure = None
    assert codes(handler([call()])) == [OK]


def test_a_failing_store_is_said_once_and_its_return_too(
    store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "envoy_ratelimit")
    handler = RateLimitHandler(allowing(9), store)
    known = []
    for failure in (None, StoreError("timeout", "too late"), StoreError("connection", "gone"), None, None):
        store.failure = failure
        handler([call()])
        handler([call("free")])
        known.append(handler.outage.why)
    assert known == ["", caplog.messages[0], caplog.messages[0], "", ""]
    assert caplog.messages == [
        "the bucket store failed; requests get 'allow' until it is back: too late",
        "the bucket store is back",
    ]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what gives the first words of what was logged since it was asked last."""
    caplog.set_level(logging.INFO, "envoy_ratelimit")

    def take() -> list[str]:
        found = [message.partition(";")[0] for message in caplog.messages]
        caplog.clear()
        return found

    return take


FAILED, BACK = "the bucket store failed", "the bucket store is back"


def test_a_store_that_is_reached_again_is_back_though_no_request_comes(
    store: WatchedStore, said: Callable[[], list[str]]
) -> None:
    down = "no route"
    handler = RateLimitHandler(allowing(9), store, why_down=lambda: down)
    store.failure = StoreError("timeout", "too late")
    handler([call()])
    handler.outage.look()
    handler.outage.look()
    assert (said(), bool(handler.outage.why)) == ([FAILED], True)
    down = ""
    handler([call()])
    handler.outage.look()
    assert said() == [], "it failed just now"
    handler.outage.look()
    assert (said(), handler.outage.why) == ([BACK], "")
    store.failure = None
    handler([call()])
    handler.outage.look()
    assert said() == []


def test_a_store_that_is_not_reached_is_logged_before_a_request_needs_it(
    store: WatchedStore, said: Callable[[], list[str]]
) -> None:
    down = "no route"
    handler = RateLimitHandler(allowing(9), store, why_down=lambda: down)
    handler.outage.look()
    handler.outage.look()
    assert said() == ["the bucket store is not reached"]
    assert handler.outage.why.endswith("requests get 'allow' until it is: no route")
    down = ""
    handler.outage.look()
    assert (said(), handler.outage.why) == ([BACK], "")


def test_a_store_that_fails_again_when_it_is_asked_is_back_only_when_it_decides(
    store: WatchedStore, said: Callable[[], list[str]]
) -> None:
    handler = RateLimitHandler(allowing(9), store)
    for expected in ([FAILED, BACK], [FAILED], []):
        store.failure = StoreError("timeout", "its script hangs, while it answers a PING")
        handler([call()])
        handler.outage.look()
        handler.outage.look()
        assert said() == expected
    store.failure = None
    handler([call()])
    assert (said(), handler.outage.why) == ([BACK], "")
    store.failure = StoreError("timeout", "another time")
    handler([call()])
    handler.outage.look()
    handler.outage.look()
    assert said() == [FAILED, BACK]


def test_a_store_that_refuses_is_back_only_when_it_decides(
    store: WatchedStore, said: Callable[[], list[str]]
) -> None:
    handler = RateLimitHandler(allowing(9), store)
    store.failure = StoreError("response", "OOM")
    handler([call()])
    handler.outage.look()
    handler.outage.look()
    assert said() == [FAILED]
    store.failure = None
    handler([call()])
    assert said() == [BACK]


def test_a_part_of_the_store_that_decides_is_not_all_of_it(
    store: WatchedStore, said: Callable[[], list[str]]
) -> None:
    down = "a node of the cluster is away"
    handler = RateLimitHandler(allowing(9), store, why_down=lambda: down)
    for failure in (StoreError("connection", "closed"), None) * 2:
        store.failure = failure
        handler([call()])
    assert said() == [FAILED]
    down = ""
    handler([call()])
    assert said() == [BACK]


@pytest.mark.parametrize("policy", FailurePolicy)
def test_a_fault_of_the_store_itself_is_no_rpc_error(store: WatchedStore, policy: FailurePolicy) -> None:
    handler = RateLimitHandler(allowing(5), store, on_store_failure=policy)
    store.failure = ZeroDivisionError()
    assert codes(handler([call(), call()])) == [BY_POLICY[policy]] * 2
    assert handler.errors.value() == 2


def failing(*_args: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "break_it",
    [
        lambda patch: patch.setattr(wire, "read_request", failing),
        lambda patch: patch.setattr(wire.Encoder, "encode", failing),
    ],
)
@pytest.mark.parametrize("policy", FailurePolicy)
def test_a_fault_of_our_own_is_no_rpc_error(
    store: WatchedStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    break_it: Callable[[pytest.MonkeyPatch], None],
    policy: FailurePolicy,
) -> None:
    handler = RateLimitHandler(allowing(5), store, on_store_failure=policy)
    break_it(monkeypatch)
    assert codes(handler([call(), call()])) == [BY_POLICY[policy]] * 2
    assert handler.errors.value() == 2
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("policy", FailurePolicy)
def test_a_fault_of_the_failure_policy_is_no_rpc_error(
    store: WatchedStore, monkeypatch: pytest.MonkeyPatch, policy: FailurePolicy
) -> None:
    handler = RateLimitHandler(allowing(5), store, on_store_failure=policy)
    store.failure = StoreError("timeout", "too late")
    monkeypatch.setattr("envoy_ratelimit.core.limiter.Limiter.fail", failing)
    assert codes(handler([call(), call()])) == [BY_POLICY[policy]] * 2
    assert handler.errors.value() == 2


def test_a_fault_of_the_failure_policy_in_one_request_answers_that_one_only(
    store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing_for_bob(self: Limiter, plan: Plan) -> Decided:
        if ("user", "bob") in plan.descriptors[0][0]:
            raise ZeroDivisionError
        return fail(self, plan)

    fail = Limiter.fail
    monkeypatch.setattr(Limiter, "fail", failing_for_bob)
    handler = RateLimitHandler(allowing(5), store)
    store.failure = StoreError("timeout", "too late")
    assert codes(handler([call("banned"), call(value="bob"), call("banned")])) == [OVER_LIMIT, OK, OVER_LIMIT]
    assert handler.errors.value() == 1
