"""`envoy-authz check`: ask a running service what it decides, over gRPC as Envoy does."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from cyclopts import Parameter
from rich.text import Text

from envoy_authz import wire_json
from envoy_authz.commands.asked import RequestOptions
from envoy_authz.commands.output import Format, console, print_json, say
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.grpc_client import ServiceOptions
from envoy_sidecar.settings import ListenOption, SettingsError

TIMEOUT_S = 5.0


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AskedService(ServiceOptions):
    """The authorization service that is asked."""

    listen: ListenOption = "127.0.0.1:9191"


def check(service: AskedService, request: RequestOptions, form: Format) -> int:
    """Print what the service answers; return 0 if it allows, 1 if it denies, 2 if there is no answer.

    Raises SettingsError for a request that can't be read.
    """
    if request.claims is not None:
        raise SettingsError(
            "--claims: a running service verifies tokens; send one (envoy-authz token makes it)"
        )
    try:
        message = wire_json.make_request(request.read().request)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    try:
        with service.channel() as channel:
            method = f"/{wire_json.SERVICE}/{wire_json.METHOD}"
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            answer = wire_json.response_as_data(ask(message, timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        say(f"{service.listen}: {service.why(error)}")
        return EXIT_USAGE
    except ValueError as error:
        say(f"{service.listen}: {error}")
        return EXIT_USAGE
    if form == "json":
        print_json(answer)
    else:
        _print(answer)
    return EXIT_CLEAN if answer["allowed"] else EXIT_FINDINGS


def _print(answer: Mapping[str, Any]) -> None:
    out = console()
    if answer["allowed"]:
        out.print(Text("allowed", "bold green"))
        response = answer.get("okResponse", {})
    else:
        response = answer.get("deniedResponse", {})
        status = response.get("status", {}).get("code", "Forbidden")
        out.print(Text(f"denied with {status}: {response.get('body', '')}", "bold red"), soft_wrap=True)
    for option in response.get("headers", ()):
        header = option.get("header", {})
        out.print(Text(f"  {header.get('key')}: {header.get('value', '')}"), soft_wrap=True)
    for name in response.get("headersToRemove", ()):
        out.print(Text(f"  removes {name}"), soft_wrap=True)
    for one in response.get("queryParametersToSet", ()):
        out.print(Text(f"  sets the query parameter {one.get('key')} to {one.get('value', '')}"))
    for name in response.get("queryParametersToRemove", ()):
        out.print(Text(f"  removes the query parameter {name}"))
    for name, value in answer.get("dynamicMetadata", {}).items():
        out.print(Text(f"  metadata {name} = {value}"), soft_wrap=True)
