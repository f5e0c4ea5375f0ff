"""The wire adapter: what Envoy reads in the answers, and that nothing it can be sent makes it raise."""

import logging

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.core import (
    Action,
    Authentication,
    Decision,
    Operation,
    Outcome,
    Policy,
    PolicySet,
    Reason,
    RequestView,
    Rule,
    Source,
)
from envoy_authz.core.authentication import ANONYMOUS
from envoy_authz.core.facts import Facts
from envoy_authz.core.record import Record
from envoy_authz.wire import CheckAdapter, Recorder, allowed_response, denied_response
from envoy_sidecar.pb import authz_pb2

WEB = "spiffe://cluster.local/ns/shop/sa/web"
POLICIES = PolicySet(
    [
        Policy(
            "read", "shop", Action.ALLOW, (Rule(operations=(Operation(("GET",), paths=("/x", "/admin*")),)),)
        ),
        Policy("web", "shop", Action.ALLOW, (Rule((Source((WEB,)),)),)),
        Policy(
            "no-admin", "shop", Action.DENY, (Rule(operations=(Operation(paths=("/admin", "/admin/*")),)),)
        ),
    ]
)


def check_request(path: str, method: str = "GET", principal: str = "") -> bytes:
    message = authz_pb2.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.host = method, path, "shop.example"
    http.headers[":path"] = path
    message.attributes.source.principal = principal
    return message.SerializeToString()


def answer(payload: bytes) -> CheckResponse:
    return CheckResponse.parse(CheckAdapter(POLICIES).check(payload).payload)


def headers(response: CheckResponse) -> dict[str, str]:
    assert response.denied_response is not None
    for option in response.denied_response.headers:
        assert option.append_action is HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
        assert option.append is None
    return {
        option.header.key: option.header.value for option in response.denied_response.headers if option.header
    }


def assert_allowed(response: CheckResponse) -> None:
    assert response.status is not None
    assert response.status.code == 0
    assert response.ok_response is not None
    assert response.denied_response is None
    assert response.error_response is None


def assert_denied(
    response: CheckResponse, http_status: int, reason: str, policy: str = "", decision_id: str = ""
) -> None:
    assert response.status is not None
    assert response.status.code == 7
    assert response.ok_response is None
    assert response.denied_response is not None
    assert response.denied_response.status is not None
    assert response.denied_response.status.code == http_status
    assert response.denied_response.body
    assert response.denied_response.body.isprintable()
    named = {"x-envoy-authz-policy": policy, "x-envoy-authz-id": decision_id}
    expected = {"x-envoy-authz-reason": reason} | {name: value for name, value in named.items() if value}
    assert headers(response) == expected


def test_an_allowed_request_gets_an_explicit_ok() -> None:
    assert_allowed(answer(check_request("/x?y")))
    assert_allowed(CheckResponse.parse(allowed_response()))


def test_the_principal_of_the_source_counts() -> None:
    assert_allowed(answer(check_request("/y", "POST", WEB)))
    assert_denied(answer(check_request("/y", "POST")), 403, "no_policy_matched")


def test_a_denial_says_which_policy_and_why() -> None:
    response = answer(check_request("/admin/users"))
    assert_denied(response, 403, "denied_by_policy", "shop/no-admin")
    assert response.denied_response is not None
    assert response.denied_response.body == "denied by AuthorizationPolicy shop/no-admin (spec.rules[0])"


@pytest.mark.parametrize(
    "path",
    [
        "/admin?x",
        "/admin#x",
        "/admin/?a#b",
        "/x/%2e%2e/admin",
        "/x/..\\admin",
        "/%61dmin",
        "/admin/%2e",
        "/./admin",
    ],
)
def test_a_disguised_path_is_denied_like_the_plain_one(path: str) -> None:
    assert_denied(answer(check_request(path)), 403, "denied_by_policy", "shop/no-admin")


@pytest.mark.parametrize(
    "path", ["//admin", "//admin/x", "", "*", "admin", "/x\n", "/x\x00", "/x%00", "/x/", "/%2e%2e"]
)
def test_a_path_that_is_another_one_is_not_allowed_as_its_neighbour(path: str) -> None:
    assert_denied(answer(check_request(path)), 403, "no_policy_matched")


MALFORMED = {
    "no protobuf": b"\xff\xff\xff",
    "cut short": check_request("/x")[:-1],
    "not UTF-8": check_request("/xyz").replace(b"/xyz", b"/\xff\xfez"),
    "empty": b"",
    "no HTTP request": authz_pb2.CheckRequest(attributes=authz_pb2.AttributeContext()).SerializeToString(),
    "no method": check_request("/x", ""),
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_cannot_be_read_is_denied_as_malformed(payload: bytes) -> None:
    assert_denied(answer(payload), 400, "malformed_request")


class Broken:
    def evaluate(self, request: RequestView, authentication: Authentication) -> Outcome:
        assert authentication is ANONYMOUS
        raise RuntimeError(request.path)


def test_an_unexpected_exception_is_a_logged_denial(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = CheckResponse.parse(CheckAdapter(Broken()).check(check_request("/x")).payload)
    error_id = vars(caplog.records[0])["error_id"]
    assert_denied(response, 403, "internal_error", decision_id=error_id)
    assert response.denied_response is not None
    assert error_id in response.denied_response.body
    assert caplog.records[0].exc_info is not None
    assert "RuntimeError: /x" in caplog.text


class Panic(BaseException):
    """What pyo3 raises when a library in Rust panics is no Exception either."""


class Fails:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def evaluate(self, request: RequestView, authentication: Authentication) -> Outcome:  # noqa: ARG002
        raise self._error

    def facts(self, request: RequestView, authentication: Authentication) -> Facts:  # noqa: ARG002
        raise self._error


class Takes:
    def wants(self, *, allowed: bool) -> bool:  # noqa: ARG002
        return True

    def put(self, record: Record) -> None:
        raise AssertionError(record)


@pytest.mark.parametrize("error", [RuntimeError("x"), Panic("x"), SystemExit(2)], ids=repr)
def test_what_fails_again_when_it_is_recorded_is_still_a_denial(error: BaseException) -> None:
    fails = Fails(error)
    checked = CheckAdapter(fails, recorder=Recorder(Takes(), fails.facts)).check(check_request("/x"))
    assert_denied(CheckResponse.parse(checked.payload), 403, "internal_error", decision_id=checked.error_id)


def test_an_answer_is_built_once_for_a_decision() -> None:
    adapter = CheckAdapter(POLICIES)
    first = adapter.check(check_request("/admin"))
    assert adapter.check(check_request("/admin/x")).payload is first.payload
    assert first.labels == ("deny", "shop/no-admin", "denied_by_policy")


def test_names_that_no_header_may_hold_are_made_harmless() -> None:
    decision = Decision(allowed=False, reason=Reason.DENIED_BY_POLICY, message="a\nb", policy="é\r\nx: y")
    response = CheckResponse.parse(denied_response(decision))
    assert_denied(response, 403, "denied_by_policy", "???x: y")


@given(st.binary())
def test_random_bytes_get_an_answer_that_can_be_read(payload: bytes) -> None:
    response = answer(payload)
    assert response.status is not None
    assert response.status.code in {0, 7}
    assert (response.ok_response is None) is (response.status.code == 7)


@given(st.data())
def test_damaged_requests_get_an_answer_that_can_be_read(data: st.DataObject) -> None:
    payload = bytearray(check_request("/admin", principal=WEB))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    response = answer(bytes(payload))
    assert response.status is not None
    assert (response.denied_response is None) is (response.status.code == 0)


@given(st.text(), st.text(min_size=1), st.text())
def test_any_text_gets_a_decision(path: str, method: str, principal: str) -> None:
    adapter = CheckAdapter(POLICIES)
    _verdict, _policy, reason = adapter.check(check_request(path, method, principal)).labels
    assert reason not in {Reason.INTERNAL_ERROR, Reason.MALFORMED_REQUEST}
