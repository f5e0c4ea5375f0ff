"""Play the scenario's steps through Envoy and judge what came of them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from envoy_demo import captures
from envoy_demo.captures import Captured
from envoy_demo.client import Response, send
from envoy_demo.processes import ProcessFailedError
from envoy_demo.scenario import REASON_HEADER, REDACTED, SECRET, Decider, Step
from envoy_demo.stack import Stack

TAP_CALLS = "cluster.envoy_tap.upstream_rq_total"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step; `problems` is empty when it is what was expected."""

    step: Step
    responses: tuple[Response, ...]
    captured: Captured | None
    problems: tuple[str, ...]


def play(stack: Stack, step: Step, capture_timeout_seconds: float = 30) -> Outcome:
    """Send the step's requests, one after the other, and return what came of them.

    Raises OSError or HTTPException when Envoy does not answer.
    """
    calls_before = stack.envoy.stat(TAP_CALLS)
    responses = tuple(send(stack.envoy.port, step.request) for _ in step.statuses)
    # Envoy calls the tap service before it passes on an answer's end, so by now it has, if it ever does.
    told = stack.envoy.stat(TAP_CALLS) > calls_before
    captured = _capture(stack, responses[-1], capture_timeout_seconds) if told else None
    return Outcome(step, responses, captured, tuple(_problems(step, responses, captured, told=told)))


def _capture(stack: Stack, response: Response, timeout_seconds: float) -> Captured | None:
    request_id = response.headers.get("x-request-id", "")
    try:
        # The service assembles and writes on its own time: it is there soon, not at once.
        return stack.tap.process.until(
            lambda: captures.find(stack.tap.admin_port, request_id), f"exchange {request_id}", timeout_seconds
        )
    except ProcessFailedError:
        return None


def decided_by(response: Response) -> Decider:
    """Return who gave this answer, by the headers that it bears."""
    if REASON_HEADER in response.headers:
        return Decider.AUTHZ
    if "x-envoy-ratelimited" in response.headers:
        return Decider.RATELIMIT
    # Envoy adds it to what an upstream answered, and to nothing that it answers itself.
    return Decider.UPSTREAM if "x-envoy-upstream-service-time" in response.headers else Decider.ENVOY


def leaks(stack: Stack) -> list[str]:
    """Return where the tap holds the secret which the scenario sent: files, and sessions as operators see them."""
    files = [path for path in stack.tap_data.rglob("*") if path.is_file()]
    found = [path.name for path in files if SECRET.encode() in path.read_bytes()]
    for session_id in captures.sessions(stack.tap.admin_port):
        shown = captures.exchanges(stack.tap.admin_port, session_id)
        found += [f"session {session_id}" for exchange in shown if SECRET in json.dumps(exchange)]
    return found


def _problems(
    step: Step, responses: tuple[Response, ...], captured: Captured | None, *, told: bool
) -> Iterator[str]:
    statuses = tuple(response.status for response in responses)
    if statuses != step.statuses:
        yield f"expected {step.statuses}, got {statuses}: {responses[-1].text[:200]}"
    last = responses[-1]
    if decided_by(last) is not step.decided_by:
        yield f"expected {step.decided_by} to decide, not {decided_by(last)}"
    for name, pattern in step.headers.items():
        value = last.headers.get(name)
        if value is None or not re.fullmatch(pattern, value):
            yield f"expected {name} to match {pattern}, got {value}"
    if told and not step.captured:
        yield "Envoy sent it to the tap service, but it is not targeted"
    elif captured is not None:
        yield from _capture_problems(step, last, captured)
    elif step.captured:
        yield f"it was not captured: {'nothing was written' if told else 'Envoy did not call the tap service'}"


def _capture_problems(step: Step, response: Response, captured: Captured) -> Iterator[str]:
    expected = {
        "method": (captured.method, step.request.method),
        "path": (captured.path, step.request.path),
        "request body": (captured.request_body, step.request.body.decode()),
        "status": (captured.status, response.status),
        "response body": (captured.response_body, response.text),
        "authorization": (captured.request_headers.get("authorization"), REDACTED),
        "truncated": (captured.truncated, False),
        "incomplete": (captured.incomplete, False),
    }
    for name, (got, wanted) in expected.items():
        if got != wanted:
            yield f"captured {name}: expected {wanted!r}, got {got!r}"
