"""All three services behind one Envoy, on the configuration for the edge: what one does, the others see or are spared."""

import pytest

from envoy_demo import captures
from envoy_demo.client import Request, Response, get, send
from envoy_demo.processes import Processes
from envoy_demo.scenario import POLICY_HEADER, REASON_HEADER
from envoy_demo.stack import Stack, start_stack


@pytest.fixture(scope="module")
def stack(of_module: Processes) -> Stack:
    return start_stack(of_module, "/orders")


def captured_status(stack: Stack, answer: Response) -> int:
    request_id = answer.headers["x-request-id"]
    found = stack.tap.process.until(
        lambda: captures.find(stack.tap.admin_port, request_id), f"exchange {request_id}"
    )
    return found.status


def test_what_authz_refuses_is_captured_with_its_reason(stack: Stack) -> None:
    answer = get(stack.envoy.port, "/orders/export")
    assert captured_status(stack, answer) == answer.status == 403
    found = captures.find(stack.tap.admin_port, answer.headers["x-request-id"])
    assert found is not None
    assert found.response_headers[REASON_HEADER] == "denied_by_policy"
    assert found.response_headers[POLICY_HEADER] == "demo/no-exports"
    assert found.response_body == answer.text


def test_what_authz_refuses_is_not_counted_by_ratelimit(stack: Stack) -> None:
    for _ in range(8):
        assert get(stack.envoy.port, "/admin", x_user="alice").status == 403
    answer = get(stack.envoy.port, "/orders", x_user="alice")
    assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (200, "4")


def test_what_ratelimit_refuses_is_captured(stack: Stack) -> None:
    answers = [
        send(stack.envoy.port, Request("POST", "/orders", {"x-user": "bob"}, b"tea")) for _ in range(6)
    ]
    assert answers[-1].status == 429
    assert captured_status(stack, answers[-1]) == 429


def test_a_header_with_an_underscore_is_refused(stack: Stack) -> None:
    assert send(stack.envoy.port, Request("GET", "/orders", {"x_user": "carol"})).status == 400
