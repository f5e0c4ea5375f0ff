"""`envoy-tap export-slot`: what a proxy's slot holds for a session, for a control plane that serves it itself."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_tap.client import ApiError, SessionClient
from envoy_tap.commands.asking import LOCAL, Service, ask, named
from envoy_tap.commands.output import UsageError, write_json
from envoy_tap.core.exchange import Node
from envoy_tap.core.node import NAMESPACE, Proxy
from envoy_tap.core.session import Session
from envoy_tap.core.spec import stored
from envoy_tap.policy_file import read_policy
from envoy_tap.slot.script import DEFAULT_CLUSTER, Setup


def export_slot(
    *sessions: Annotated[str, Parameter(help="Ids of active sessions; without any, the idle slot.")],
    node_id: Annotated[str, Parameter(help="node.id of the proxy; it comes with every exchange.")] = "",
    node_cluster: Annotated[str, Parameter(help="node.cluster of the proxy.")] = "",
    driver: Annotated[Literal["lua", "ext_proc"], Parameter(help="How it captures.")] = "lua",
    slot: Annotated[str, Parameter(help="Name of the slot's filter.")] = "envoy_tap_slot",
    cluster: Annotated[
        str, Parameter(help="Name of the cluster by which the proxy reaches the tap service.")
    ] = DEFAULT_CLUSTER,
    policy: Annotated[
        Path | None, Parameter(help="The service's --policy: what it forbids does not leave the proxy then.")
    ] = None,
    as_: Annotated[
        Literal["resource", "file"],
        Parameter(
            name="--as", help="A TypedExtensionConfig, or the DiscoveryResponse of a path_config_source."
        ),
    ] = "resource",
    service: Service = LOCAL,
) -> int:
    """Print what a proxy's slot holds for sessions, as JSON: serve it by your own control plane, or as a file.

    It passed the lint. Serve it with a time to live, and take it back when the session ends; a script also ends by itself.
    """
    # Not at the top: they import envoy-data-plane, for which --help should not wait.
    from envoy_tap.drivers.choice import resource  # noqa: PLC0415
    from envoy_tap.slot.file import response  # noqa: PLC0415
    from envoy_tap.slot.subscription import SlotError  # noqa: PLC0415

    proxy = Proxy(Node(node_id, node_cluster), ((f"{NAMESPACE}.driver", driver),))

    def do(client: SessionClient) -> int:
        try:
            setup = Setup(cluster, read_policy(policy))
            made = resource(slot, [_session(client, each) for each in sessions], proxy, setup)
        except InvalidConfigurationError as error:
            raise UsageError(str(error)) from None
        except SlotError as error:
            raise ApiError(str(error)) from None
        write_json(response(made) if as_ == "file" else made.to_dict(), indent=1)
        return EXIT_CLEAN

    return ask(service, do)


def _session(client: SessionClient, session: str) -> Session:
    session_id = named(client, session)
    shown = client.show(session_id)
    if shown["state"] != "active":
        raise ApiError(f"session {session_id} is {shown['state']}; only an active one captures")
    return stored(shown)
