"""`envoy-tap agent`: tap an Envoy that has no xDS, from beside it."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import grpc
from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_USAGE
from envoy_sidecar.telemetry import logs
from envoy_sidecar.telemetry.logs import LogLevel
from envoy_sidecar.transport.address import Address
from envoy_tap.core.exchange import Node


def agent(
    *,
    node_id: Annotated[str, Parameter(help="Under which name exchanges come, and sessions find it.")],
    node_cluster: Annotated[str, Parameter(help="Its node.cluster.")] = "",
    envoy_admin: Annotated[str, Parameter(help="Envoy's admin interface, HOST:PORT or unix:PATH.")] = (
        "127.0.0.1:9901"
    ),
    config_id: Annotated[str, Parameter(help="config_id of the tap filter's admin_config.")] = "envoy_tap",
    socket_config_id: Annotated[
        str, Parameter(help="config_id of the tapped transport sockets' admin_config.")
    ] = "envoy_tap_socket",
    tap: Annotated[str, Parameter(help="The tap service's --listen address, HOST:PORT.")] = "127.0.0.1:9393",
    tap_ca: Annotated[
        Path | None, Parameter(help="PEM of the CA of the tap service's certificate; without it, plaintext.")
    ] = None,
    log_level: Annotated[LogLevel, Parameter(help="From which level on it logs, on stderr.")] = "info",
) -> int:
    """Tap the Envoy beside this agent by POST /tap, for the sessions of a tap service, until a signal stops it.

    Only loopback or a Unix socket should reach the admin interface: whoever does can also stop Envoy.
    """
    logs.configure(log_level, "text")
    try:
        admin, target = Address.parse(envoy_admin), str(Address.parse(tap))
        credentials = None if tap_ca is None else grpc.ssl_channel_credentials(tap_ca.read_bytes())
    except (ValueError, OSError) as error:
        sys.stderr.write(f"envoy-tap: {error}\n")
        return EXIT_USAGE
    with suppress(KeyboardInterrupt):
        asyncio.run(
            _run(admin, Node(node_id, node_cluster), (config_id, socket_config_id), target, credentials)
        )
    return EXIT_CLEAN


async def _run(
    admin: Address,
    node: Node,
    config_ids: tuple[str, str],
    target: str,
    credentials: grpc.ChannelCredentials | None,
) -> None:
    # Not at the top: it imports envoy-data-plane, for which --help should not wait.
    from envoy_tap.agent.agent import Agent, Place  # noqa: PLC0415

    channel = (
        grpc.aio.insecure_channel(target)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials)
    )
    async with channel:
        await Agent(Place(admin, node, *config_ids), channel).run()
