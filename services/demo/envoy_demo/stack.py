"""The whole of the demo, running: an upstream, the three services on embedded defaults, and Envoy in front."""

from dataclasses import dataclass
from pathlib import Path

from envoy_demo import configs
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz, start_ratelimit, start_tap
from envoy_demo.upstream import Upstream, start_upstream
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.claim import claim

TAP_SLOT = "envoy_tap_slot"
# Nobody drains behind the demo's Envoy, which goes at the same time as the services.
_AT_ONCE = ("--drain-delay", "0")


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs, the tap's data folder, and the folder of the policies and limits in use."""

    envoy: Envoy
    authz: Service
    ratelimit: Service
    tap: Service
    upstream: Upstream
    tap_data: Path
    examples: Path


def start_stack(processes: Processes, tap_path: str, listener_port: int = 0) -> Stack:
    """Start everything and return once Envoy serves and the tap has reached it.

    Requests whose path starts with *tap_path* are captured. *listener_port* is Envoy's, 0 for a free one; all other
    ports are free ones. Raises ProcessFailedError with the log of what did not come up, and ListenError
    when *listener_port* is taken.
    """
    if listener_port:
        claim(Address(LOOPBACK, listener_port), "--port")
    examples = configs.folder() / "examples"
    tap_data = processes.folder / "tap"
    upstream = start_upstream(processes)
    authz = start_authz(processes, examples / "policies", _AT_ONCE)
    ratelimit = start_ratelimit(processes, examples / "limits", options=_AT_ONCE)
    tap = start_tap(processes, tap_data, ["--target-path", tap_path, *_AT_ONCE])
    # They start side by side, and are waited for together.
    for each in (upstream, authz, ratelimit, tap):
        each.wait_ready()
    endpoints = {
        "upstream": [upstream.port],
        "envoy_authz": [authz.port],
        "envoy_ratelimit": [ratelimit.port],
        "envoy_tap": [tap.port],
    }
    config = configs.on_ports(configs.load("edge.yaml"), endpoints, listener_port)
    envoy = start_envoy(processes, configs.be_patient(config))
    envoy.until_stat(tap_reloads(TAP_SLOT), at_least=1)
    return Stack(envoy, authz, ratelimit, tap, upstream, tap_data, examples)


def tap_reloads(slot: str) -> str:
    """Return the name of Envoy's counter of what was pushed into the slot and accepted."""
    return f"extension_config_discovery.http_filter.{slot}.config_reload"
