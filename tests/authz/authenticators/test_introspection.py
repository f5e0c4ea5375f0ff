"""Introspection (RFC 7662): off the deciding thread, remembered, and bounded."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from envoy_authz.authenticators.introspection import IntrospectionAuthenticator, IntrospectionLimits
from envoy_authz.authenticators.introspection_http import IntrospectionEndpoint
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.request import Request
from envoy_authz.tokens.fetch import FetchError
from envoy_authz.tokens.verify import Expectations
from tests.authz.tokens.issuer import Issuer

NOW_S = 1_800_000_000.0
EXPECTED = Expectations("https://as.example", frozenset({"shop"}))
ACTIVE = {"active": True, "sub": "alice", "aud": "shop", "client_id": "app", "exp": NOW_S + 30}
LONG = IntrospectionLimits(wait_s=5.0)


class Server:
    """Answers as told; `gate` holds answers back."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Mapping[str, object] | Exception = ACTIVE
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()

    async def __call__(self, token: str) -> Mapping[str, object]:
        self.asked.append(token)
        self.arrived.set()
        await asyncio.to_thread(self.gate.wait)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


Make = Callable[[IntrospectionLimits], IntrospectionAuthenticator]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(server: Server, clock: Clock) -> Iterator[Make]:
    made: list[IntrospectionAuthenticator] = []

    def start(limits: IntrospectionLimits) -> IntrospectionAuthenticator:
        authenticator = IntrospectionAuthenticator(server, EXPECTED, limits=limits, clock=clock)
        authenticator.start()
        made.append(authenticator)
        return authenticator

    yield start
    server.gate.set()
    for authenticator in made:
        authenticator.stop()


def send(authenticator: IntrospectionAuthenticator, token: str | None = "opaque") -> Authentication:  # noqa: S107
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return authenticator.authenticate(Request("GET", "/", request_headers=headers))


def reason(found: Authentication) -> str:
    return found.refusal.reason if found.refusal else ""


def test_an_active_token_is_asked_about_once(make: Make, server: Server) -> None:
    made = make(LONG)
    for _ in range(3):
        (token,) = send(made).tokens
    assert (token.issuer, token.subject, token.presenter) == ("https://as.example", "alice", "app")
    assert send(made).remove_headers == ("authorization",)
    assert server.asked == ["opaque"]


@pytest.mark.parametrize(
    ("cnf", "scheme", "refusal"),
    [
        ({"cnf": {"x5t#S256": "AAAA"}}, "Bearer", "sender"),
        ({"cnf": {"jkt": "AAAA"}}, "Bearer", "proof"),
        ({}, "DPoP", "proof"),
        ({"cnf": None}, "Bearer", "sender"),
    ],
)
def test_a_token_that_is_bound_to_a_sender_needs_its_proof_each_time(
    make: Make, server: Server, cnf: Mapping[str, object], scheme: str, refusal: str
) -> None:
    server.answer = {**ACTIVE, **cnf}
    made = make(LONG)
    for _ in range(2):
        found = made.authenticate(Request("GET", "/", request_headers={"authorization": f"{scheme} opaque"}))
        assert reason(found) == refusal


def test_no_token_passes_unasked(make: Make, server: Server) -> None:
    assert send(make(LONG), None) == Authentication()
    assert server.asked == []


def test_a_request_does_not_wait_unless_told(make: Make, server: Server) -> None:
    server.gate.clear()
    made = make(IntrospectionLimits())
    assert reason(send(made)) == "pending"
    assert server.arrived.wait(5)
    assert reason(send(made)) == "pending"
    found = send(made).refusal
    assert found is not None
    assert found.www_authenticate == 'Bearer realm="envoy-authz"'
    assert server.asked == ["opaque"]


def test_a_token_is_believed_no_longer_than_it_lives(make: Make, server: Server, clock: Clock) -> None:
    server.answer = {**ACTIVE, "exp": NOW_S}
    made = make(replace(LONG, keep_s=9999))
    assert send(made).tokens
    server.answer = {"active": False}
    clock.now_s += 59
    assert send(made).tokens
    clock.now_s += 1
    assert reason(send(made)) == "inactive"


def test_an_answer_is_believed_for_a_bounded_time(make: Make, server: Server, clock: Clock) -> None:
    server.answer = {**ACTIVE, "exp": NOW_S + 9999}
    made = make(LONG)
    assert send(made).tokens
    server.answer = {"active": False}
    clock.now_s += 59
    assert send(made).tokens
    clock.now_s += 1
    assert reason(send(made)) == "inactive"
    server.answer = ACTIVE
    clock.now_s += 9
    assert reason(send(made)) == "inactive"
    clock.now_s += 1
    assert send(made).tokens


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"active": False}, "inactive"),
        ({}, "inactive"),
        ({"active": "true"}, "inactive"),
        ({"active": 1}, "inactive"),
        ({**ACTIVE, "aud": "bank"}, "audience"),
        ({**ACTIVE, "iss": "https://evil"}, "issuer"),
        ({**ACTIVE, "exp": NOW_S - 100}, "expired"),
        ({**ACTIVE, "exp": "soon"}, "claim"),
        ({**ACTIVE, "sub": 5}, "claim"),
        (FetchError("status 500"), "keys_unavailable"),
        (RuntimeError("opaque"), "keys_unavailable"),
    ],
)
def test_what_is_not_active_here_is_refused(
    make: Make, server: Server, answer: Mapping[str, object] | Exception, expected: str
) -> None:
    server.answer = answer
    assert reason(send(make(LONG))) == expected


def test_a_failure_is_not_remembered_and_tells_no_token(
    make: Make, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(LONG)
    server.answer = RuntimeError("opaque")
    assert reason(send(made)) == "keys_unavailable"
    server.answer = ACTIVE
    assert send(made).tokens
    assert "opaque" not in caplog.text


def test_what_is_pending_and_remembered_is_bounded(make: Make, server: Server) -> None:
    server.gate.clear()
    made = make(IntrospectionLimits(pending=3, capacity=2, concurrency=1))
    for number in range(10):
        assert reason(send(made, f"t{number}")) == "pending"
    assert made.dropped == 7
    waiting = list(made._pending.values())
    server.gate.set()
    for pending in waiting:
        pending.result(5)
    assert server.asked == ["t0", "t1", "t2"]
    assert len(made._known) == 2


def test_tokens_that_are_not_active_push_out_none_that_is(make: Make, server: Server) -> None:
    made = make(IntrospectionLimits(wait_s=5.0, capacity=2))
    assert send(made, "mine").tokens
    server.answer = {"active": False}
    for number in range(5):
        assert reason(send(made, f"t{number}")) == "inactive"
    assert send(made, "mine").tokens
    assert server.asked == ["mine", *(f"t{number}" for number in range(5))]
    assert len(made._refused) == 2


@pytest.mark.parametrize("token", ["", "a b", "a,b", "a\n", "é", "x" * 20_000])
def test_what_no_token_can_be_is_not_asked_about(make: Make, server: Server, token: str) -> None:
    assert reason(send(make(LONG), token)) in {"malformed", "too_large"}
    assert server.asked == []


def test_before_the_start_and_after_the_end_all_is_pending(server: Server) -> None:
    made = IntrospectionAuthenticator(server, EXPECTED)
    assert reason(send(made)) == "pending"
    made.start()
    made.stop()
    assert reason(send(made)) == "pending"


async def test_the_endpoint_is_asked_as_the_standard_says(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    await issuer.start()
    issuer.answers["/introspect"] = (200, "", json.dumps({"active": True}))
    endpoint = IntrospectionEndpoint(f"{issuer.url}/introspect", "me", "s3cret", tls=issuer.client_tls)
    assert await endpoint("opaque") == {"active": True}
    assert parse_qs(issuer.bodies[0]) == {"token": ["opaque"], "token_type_hint": ["access_token"]}
    assert "authorization: basic bwu6cznjcmv0" in issuer.headers[0].lower()
    for answer in (
        (401, "", "{}"),
        (200, "", "[]"),
        (200, "", "x" * (1 << 21)),
        (302, "location: /x\r\n", ""),
    ):
        issuer.answers["/introspect"] = answer
        with pytest.raises(FetchError) as caught:
            await endpoint("opaque")
        assert "opaque" not in str(caught.value)
        assert "s3cret" not in str(caught.value)
    await issuer.stop()
