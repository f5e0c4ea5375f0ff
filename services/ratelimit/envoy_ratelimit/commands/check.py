"""`envoy-ratelimit check`: ask a running service what it decides, over gRPC as Envoy does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from envoy_ratelimit import wire, wire_json
from envoy_ratelimit.commands.descriptors import written
from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.core.limiter import UNLIMITED_REMAINING
from envoy_ratelimit.core.rule import Entry, Rate
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE

TIMEOUT_S = 5.0
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class NoCertificateError(Exception):
    """A file that was given as a CA has no certificate in it."""


def check(
    listen: str,
    domain: str,
    descriptors: Sequence[tuple[Entry, ...]],
    form: Format,
    *,
    hits: int | None = None,
    override: Rate | None = None,
    tls_ca: Path | None = None,
) -> int:
    """Print what the service at *listen* answers; return 1 if it is over a limit, 2 if there is no answer."""
    request = wire_json.make_request(domain, descriptors, hits=hits, override=override)
    try:
        with _channel(listen, tls_ca) as channel:
            method = f"/{wire.SERVICE}/{wire.METHOD}"
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            answer = wire_json.response_as_data(ask(request, timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        say(f"{listen}: {_reason(error)}")
        return EXIT_USAGE
    except OSError as error:
        say(f"--tls-ca {tls_ca}: {error.strerror or error}")
        return EXIT_USAGE
    except NoCertificateError:
        say(f"--tls-ca {tls_ca}: there is no certificate in it; give the PEM file of the CA")
        return EXIT_USAGE
    if form == "json":
        print_json(answer)
    else:
        console().print(_table(descriptors, answer))
    return EXIT_FINDINGS if answer.get("overallCode") == wire_json.OVER_LIMIT else EXIT_CLEAN


def _reason(error: grpc.RpcError) -> str:
    """Return the status and what it says; the library's own text has its source lines."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    return f"{code().name}: {details()}" if code and details else str(error)


def _channel(listen: str, tls_ca: Path | None) -> grpc.Channel:
    if tls_ca is None:
        return grpc.insecure_channel(listen)
    ca = tls_ca.read_bytes()
    # gRPC would write lines of C++ source to stderr, and say that it cannot connect.
    if _CERTIFICATE not in ca:
        raise NoCertificateError
    return grpc.secure_channel(listen, grpc.ssl_channel_credentials(ca))


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
    """Say which limit a status is of; without one, what the answer lets one know."""
    if limit:
        return f"{limit.get('requestsPerUnit', 0)}/{limit.get('unit', '?')}"
    if status.get("limitRemaining") == UNLIMITED_REMAINING:
        return "unlimited"
    return (
        "unknown: the store failed"
        if status.get("code") == wire_json.OVER_LIMIT
        else "none, or the store failed"
    )
