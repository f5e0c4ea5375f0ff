"""`envoy-ratelimit check`: ask a running service what it decides, over gRPC as Envoy does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from cyclopts import Parameter

from envoy_ratelimit import wire, wire_json
from envoy_ratelimit.commands.descriptors import written
from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.commands.uncounted import Uncounted
from envoy_ratelimit.core.rule import Entry, Rate
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.grpc_client import ServiceOptions
from envoy_sidecar.settings import ListenOption

TIMEOUT_S = 5.0


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AskedService(ServiceOptions):
    """The rate limit service that is asked."""

    listen: ListenOption = "127.0.0.1:8081"


def check(
    service: ServiceOptions,
    domain: str,
    descriptors: Sequence[tuple[Entry, ...]],
    form: Format,
    *,
    hits: int | None = None,
    override: Rate | None = None,
    admin: str = "",
) -> int:
    """Print what the service answers, and by *admin* why there is no limit; see `Uncounted`.

    Return 1 if it is over a limit, 2 if there is no answer. Raises SettingsError.
    """
    request = wire_json.make_request(domain, descriptors, hits=hits, override=override)
    try:
        with service.channel() as channel:
            method = f"/{wire.SERVICE}/{wire.METHOD}"
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            answer = wire_json.response_as_data(ask(request, timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        say(f"{service.listen}: {service.why(error)}")
        return EXIT_USAGE
    Uncounted(request, domain, service.listen, admin).explain(answer)
    if form == "json":
        print_json(answer)
    else:
        console().print(_table(descriptors, answer))
    return EXIT_FINDINGS if answer.get("overallCode") == wire_json.OVER_LIMIT else EXIT_CLEAN


def _table(descriptors: Sequence[tuple[Entry, ...]], answer: dict[str, object]) -> object:
    statuses = answer.get("statuses", [])
    rows = []
    for entries, status in zip(descriptors, statuses if isinstance(statuses, list) else [], strict=False):
        limit = status.get("currentLimit", {})
        rows.append(
            (
                written(entries),
                status.get("code"),
                limit.get("name", ""),
                _rate(status, limit),
                status.get("limitRemaining", 0) if limit else "",
                status.get("durationUntilReset", ""),
            )
        )
    return table(
        str(answer.get("overallCode")), ("descriptor", "code", "name", "limit", "left", "reset"), rows
    )


def _rate(status: dict[str, Any], limit: dict[str, Any]) -> str:
    """Say which limit a status is of, or why of none."""
    return f"{limit.get('requestsPerUnit', 0)}/{limit.get('unit', '?')}" if limit else str(status.get("why"))
