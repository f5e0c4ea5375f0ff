"""What the admin server shows of limits, at the paths that operators of the reference know, and `/top`."""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from envoy_ratelimit import wire, wire_json
from envoy_ratelimit.core.limiter import Limiter
from envoy_ratelimit.core.rule import Rule
from envoy_ratelimit.core.rules import Rules
from envoy_ratelimit.observe.metrics import reference_stats
from envoy_ratelimit.observe.observer import TOPS, Observer, Top, Tops, summed
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_sidecar.transport.batching import MAX_MESSAGE_BYTES
from envoy_sidecar.transport.port import Answer, Call, Failure
from envoy_sidecar.worker_views import WorkerViews

MAX_TOP = 1000
REPLACED = "replaced"
"""What /limits says of a limit that another one of the request replaces."""
_TOP = 20
_SHORT_NUMBER = re.compile("[0-9]{1,4}")
_TOO_MANY_REQUESTS = 429


class Shown(Protocol):
    """What the routes show and ask."""

    @property
    def rules(self) -> Rules:
        """The limits that hold now."""

    @property
    def observer(self) -> Observer:
        """What was seen of decisions."""

    @property
    def has_limits(self) -> bool:
        """Whether there are limits to decide by, be they none."""

    @property
    def is_serving(self) -> bool:
        """Whether requests are answered by limits, and will be."""

    @property
    def decide(self) -> Callable[[Sequence[Call]], Sequence[Answer]]:
        """Answers requests; may be called from any thread."""


def routes(shown: Shown) -> list[BaseRoute]:
    """Return the routes of the ratelimit service."""

    def healthcheck(_request: Request) -> Response:
        return PlainTextResponse("OK") if shown.is_serving else PlainTextResponse("", 500)

    def rlconfig(_request: Request) -> Response:
        return PlainTextResponse("".join(f"{line}\n" for line in rule_lines(shown.rules)))

    def stats(_request: Request) -> Response:
        counts = reference_stats(shown.observer.metrics.hits.counts)
        return PlainTextResponse("".join(f"{name}: {count}\n" for name, count in counts))

    @_counting
    def top(count: int) -> Tops:
        return shown.observer.top(count)

    @_posted
    def decide(body: bytes) -> Response:
        if not shown.has_limits:
            return PlainTextResponse("there are no limits yet\n", 503)
        try:
            call = Call(wire_json.request_from_json(body))
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        (answer,) = shown.decide([call])
        if isinstance(answer, Failure):
            return PlainTextResponse(f"{answer.message}\n", 400)
        data = wire_json.response_as_data(answer)
        over = data.get("overallCode") == wire_json.OVER_LIMIT
        return JSONResponse(data, _TOO_MANY_REQUESTS if over else 200)

    return [
        Route("/json", decide, methods=["POST"]),
        Route("/limits", _posted(lambda body: _limits(shown.rules, body)), methods=["POST"]),
        Route("/healthcheck", healthcheck),
        Route("/rlconfig", rlconfig),
        Route("/stats", stats),
        Route("/top", top),
    ]


def worker_routes(workers: WorkerViews) -> list[BaseRoute]:
    """Return the same routes for an admin server that has workers: any decides and knows the limits, all have counted."""

    def healthcheck(_request: Request) -> Response:
        serve = all(answer is not None and answer.is_success for answer in workers.all("/healthcheck"))
        return PlainTextResponse("OK") if serve else PlainTextResponse("", 500)

    def rlconfig(_request: Request) -> Response:
        return workers.first("/rlconfig")

    def stats(_request: Request) -> Response:
        counts: Counter[str] = Counter()
        for answer in answers("/stats"):
            for line in answer.text.splitlines():
                name, _, count = line.rpartition(": ")
                counts[name] += int(count)
        return PlainTextResponse("".join(f"{name}: {count}\n" for name, count in sorted(counts.items())))

    @_counting
    def top(count: int) -> Tops:
        # All that each has: a key may be heavy by what several workers saw of it.
        found = [answer.json() for answer in answers(f"/top?count={MAX_TOP}")]
        return {which: summed((Top(**row) for one in found for row in one[which]), count) for which in TOPS}

    def answers(path: str) -> Iterator[httpx.Response]:
        return (answer for answer in workers.all(path) if answer is not None and answer.is_success)

    return [
        Route("/json", _posted(lambda body: workers.first("/json", body)), methods=["POST"]),
        Route("/limits", _posted(lambda body: workers.first("/limits", body)), methods=["POST"]),
        Route("/healthcheck", healthcheck),
        Route("/rlconfig", rlconfig),
        Route("/stats", stats),
        Route("/top", top),
    ]


def _counting(find: Callable[[int], Tops]) -> Callable[[Request], Response]:
    """Return the endpoint that shows as many of the heaviest keys as it is asked for."""

    def top(request: Request) -> Response:
        asked = request.query_params.get("count", str(_TOP))
        if not (_SHORT_NUMBER.fullmatch(asked) and 0 < int(asked) <= MAX_TOP):
            return PlainTextResponse(f"count: write a number from 1 to {MAX_TOP}\n", 400)
        data = {which: [top._asdict() for top in found] for which, found in find(int(asked)).items()}
        return Response(json.dumps(data), media_type="application/json")

    return top


def _posted(answer: Callable[[bytes], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that answers a body, off the event loop, unless it is too large or a web page's."""

    async def endpoint(request: Request) -> Response:
        if _is_of_a_page(request):
            return PlainTextResponse("web pages may not ask here\n", 403)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_MESSAGE_BYTES:
                return PlainTextResponse(f"at most {MAX_MESSAGE_BYTES} bytes\n", 413)
        return await run_in_threadpool(answer, bytes(body))

    return endpoint


def _is_of_a_page(request: Request) -> bool:
    """Whether a page in a browser asks: any can, of a server on the same machine, and would take hits or give them back.

    Browsers tell it (Fetch, sections 2.2.1 and 3.1), and nothing else does.
    """
    headers = request.headers
    return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"


def _limits(rules: Rules, body: bytes) -> Response:
    """Say which domains there are, and which limit each descriptor of a request meets; null for one that meets none."""
    try:
        request = wire.read_request(wire_json.request_from_json(body))
    except (ValueError, wire.InvalidRequestError) as error:
        return PlainTextResponse(f"{error}\n", 400)
    met = Limiter(rules, MemoryStore()).plan(*request).rules
    limits = [None if rule is None else {"path": rule.path, "limit": _written(rule)} for rule in met]
    return JSONResponse({"domains": sorted(rules.domains), "limits": limits})


def _written(rule: Rule) -> str:
    if rule.dropped:
        return REPLACED
    return "unlimited" if rule.rate is None else str(rule.rate)


def rule_lines(rules: Rules) -> list[str]:
    """Return one line a limit, as the reference prints them."""
    lines = []
    for rule in rules.rules:
        rate = rule.rate
        limit = "unlimited"
        if rate is not None:
            limit = f"unit={rate.unit.name} requests_per_unit={rate.requests_per_unit}"
            limit += f" unit_multiplier={rate.multiplier}" if rate.multiplier > 1 else ""
        modes = f"shadow_mode: {_said(rule.shadow_mode)}, quota_mode: {_said(rule.quota_mode)}"
        lines.append(f"{rule.domain}.{rule.path}: {limit}, {modes}")
    return lines


def _said(value: bool) -> str:
    return "true" if value else "false"
