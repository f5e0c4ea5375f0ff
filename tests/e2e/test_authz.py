"""authz behind a real Envoy: who gets through, and what those who don't are told."""

import grpc
import pytest

from envoy_demo import configs
from envoy_demo.client import Request, get, send
from envoy_demo.envoy import Envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.scenario import POLICY_HEADER, REASON_HEADER
from envoy_demo.services import start_authz
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE, AUTHZ, SERVED, edge


@pytest.fixture(scope="module")
def envoy(of_module: Processes, upstream: Upstream) -> Envoy:
    authz = start_authz(of_module, configs.folder() / "examples" / "policies", AT_ONCE)
    authz.wait_ready()
    return edge(of_module, upstream, AUTHZ, [authz], configs.be_patient)


def test_what_a_policy_allows_reaches_the_upstream_as_it_was_sent(envoy: Envoy) -> None:
    request = Request("POST", "/orders?express=1", {"x-note": "cold"}, b'{"item": "tea"}')
    answer = send(envoy.port, request)
    assert answer.status == 200
    echo = answer.json()
    assert (echo["method"], echo["path"], echo["body"]) == ("POST", "/orders?express=1", '{"item": "tea"}')
    assert echo["headers"]["x-note"] == "cold"
    assert REASON_HEADER not in answer.headers


def test_what_no_policy_allows_is_refused_with_the_reason_and_never_arrives(envoy: Envoy) -> None:
    before = envoy.stat(SERVED)
    answer = send(envoy.port, Request("DELETE", "/orders/1"))
    assert answer.status == 403
    assert answer.headers[REASON_HEADER] == "no_policy_matched"
    assert POLICY_HEADER not in answer.headers
    assert answer.text == "denied: no AuthorizationPolicy matched"
    assert answer.headers["content-type"] == "text/plain"
    assert envoy.stat(SERVED) == before


def test_a_denial_names_the_policy_that_decided(envoy: Envoy) -> None:
    answer = get(envoy.port, "/orders/export?format=csv")
    assert answer.status == 403
    assert answer.headers[REASON_HEADER] == "denied_by_policy"
    assert answer.headers[POLICY_HEADER] == "demo/no-exports"
    assert answer.text == "denied by AuthorizationPolicy demo/no-exports (spec.rules[0])"


@pytest.mark.parametrize(
    "path",
    [
        "/admin/users",
        "/public/../admin/users",
        "/public/%2e%2e/admin/users",
        "/%61dmin/users",
        "//admin/users",
        "/admin/users?x=/public/",
        "/admin/users/..;/public/x",
    ],
)
def test_no_spelling_of_a_path_gets_around_the_policies(envoy: Envoy, path: str) -> None:
    before = envoy.stat(SERVED)
    assert get(envoy.port, path).status == 403
    assert envoy.stat(SERVED) == before


def test_the_upstream_gets_the_spelling_that_was_decided_on(envoy: Envoy) -> None:
    # RFC 3986, 5.2.4: the empty segment is what `..` takes away.
    answer = get(envoy.port, "/public//../admin/./users//1")
    assert (answer.status, answer.json()["path"]) == (200, "/public/admin/users/1")


@pytest.mark.parametrize("path", ["/public/..%2fadmin/users", "/public/..%5cadmin/users"])
def test_escaped_slashes_are_sent_back_to_be_spelled_out(envoy: Envoy, path: str) -> None:
    answer = get(envoy.port, path)
    assert answer.status == 307
    assert get(envoy.port, answer.headers["location"]).status == 403


def test_a_client_cannot_forge_the_reason(envoy: Envoy) -> None:
    answer = get(envoy.port, "/admin/users", x_envoy_authz_reason="allowed_by_policy")
    assert (answer.status, answer.headers[REASON_HEADER]) == (403, "no_policy_matched")


def test_a_grpc_caller_is_refused_in_the_form_of_grpc(envoy: Envoy) -> None:
    with grpc.insecure_channel(f"{LOOPBACK}:{envoy.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/shop.Orders/Delete")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10)
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert error.details() == "denied: no AuthorizationPolicy matched"
    metadata = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
    assert (REASON_HEADER, "no_policy_matched") in metadata
