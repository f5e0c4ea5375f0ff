"""Which cluster a service is called in, and how long Envoy waits for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from envoy_sidecar.config.documents import Node
from envoy_sidecar.doctor import model, view
from envoy_sidecar.doctor.diagnosis import Diagnosis, Mend, Part, Service
from envoy_sidecar.doctor.model import Configuration, Manager

_AUTHORITY = re.compile(r"[A-Za-z0-9._~:\[\]-]*")
_LONGEST_S: dict[Service, float] = {"authz": 1.0, "ratelimit": 0.25}
_SHORTEST_S: dict[Service, float] = {"authz": 0.02, "ratelimit": 0.005}
_DEFAULT: dict[Service, str] = {"authz": "0.2s", "ratelimit": "0.02s"}
# Of Envoy's own accord the greatest interval between two tries is so many times the first.
_GROWS = 10


@dataclass(frozen=True, slots=True)
class Call:
    """One place where a service is called: `grpc_service` is the message there, `timed` the one that has the timeout."""

    service: Service
    manager: Manager
    grpc_service: Node
    timed: Node

    @property
    def cluster(self) -> str:
        """The name of the cluster; empty if it is not called by Envoy's own client."""
        return view.text(self.grpc_service, "envoy_grpc", "cluster_name")


def calls(configuration: Configuration) -> Iterator[Call]:
    """Yield every place where a service is called."""
    for manager in configuration.managers:
        for each in manager.filters:
            if each.type == model.EXT_AUTHZ:
                grpc = view.field(each.config, "grpc_service")
                if grpc is not None:
                    yield Call("authz", manager, grpc, grpc)
            elif each.type == model.RATELIMIT and each.config is not None:
                grpc = view.field(each.config, "rate_limit_service", "grpc_service")
                if grpc is not None:
                    yield Call("ratelimit", manager, grpc, each.config)
            if each.is_tap_slot:
                source = view.field(each.entry, "config_discovery", "config_source", "api_config_source")
                for grpc in view.items(source, "grpc_services"):
                    yield Call("tap", manager, grpc, grpc)


def check(configuration: Configuration) -> Iterator[Diagnosis]:
    """Look at how each service is called."""
    for call in calls(configuration):
        yield from _client(call)
        yield from _authority(call)
        if call.service != "tap":  # an xDS stream has no end
            yield from _timeout(call)
            yield from _tries(call)


def _client(call: Call) -> Iterator[Diagnosis]:
    google = view.field(call.grpc_service, "google_grpc")
    if google is not None:
        yield Diagnosis(
            "google-grpc",
            call.service,
            "warning",
            google,
            "is called by google_grpc",
            "health checks, retries, circuit breakers and the statistics of a cluster do not hold for it; put a cluster "
            f"envoy_{call.service} and envoy_grpc in its place",
        )


def _authority(call: Call) -> Iterator[Diagnosis]:
    own = view.field(call.grpc_service, "envoy_grpc")
    if own is None or view.text(own, "authority") or _AUTHORITY.fullmatch(call.cluster):
        return
    part = Part(call.service, own, call.manager.where(f"envoy_grpc of the {call.service} filter"))
    yield part.found(
        "authority",
        "error",
        f"the name of the cluster, {call.cluster!r}, is no authority, and none is set",
        "Envoy sends it as :authority, and HTTP/2 servers refuse such a call",
        mend={"authority": f"envoy-{call.service}"},
    )


def _timeout(call: Call) -> Iterator[Diagnosis]:
    service, where = call.service, call.manager.where(f"the {call.service} filter")
    timeout = view.seconds(call.timed, "timeout")
    node = view.field(call.timed, "timeout") or call.timed
    mend = (Mend(where, call.timed, {"timeout": _DEFAULT[service]}),)
    if timeout is None:
        message = "no timeout is written"
        why = f"Envoy's own is {_DEFAULT[service]}; written, it is there to be found"
        yield Diagnosis("timeout-unwritten", service, "note", node, message, why, mend)
    elif timeout == 0:
        message = "the timeout is 0: none"
        why = f"while {service} hangs every request does, until Envoy has no more room for them"
        yield Diagnosis("timeout-none", service, "error", node, message, why, mend)
    elif timeout > _LONGEST_S[service]:
        message = f"the timeout is {timeout:g} s"
        why = f"while {service} hangs every request waits as long as that"
        yield Diagnosis("timeout-long", service, "warning", node, message, why, mend)
    elif timeout < _SHORTEST_S[service]:
        message = f"the timeout is {timeout:g} s"
        why = "a connection that is made while a request waits counts into it, and a busy machine is late by more"
        yield Diagnosis("timeout-short", service, "warning", node, message, why, mend)


def _tries(call: Call) -> Iterator[Diagnosis]:
    back_off = view.field(call.grpc_service, "retry_policy", "retry_back_off")
    timeout = view.seconds(call.timed, "timeout")
    if back_off is None or not timeout:
        return
    longest = view.seconds(back_off, "max_interval")
    first = view.seconds(back_off, "base_interval")
    each_try = longest if longest is not None else (first or timeout) * _GROWS
    if each_try < timeout / 2:
        part = Part(
            call.service, back_off, call.manager.where(f"retry_back_off of the {call.service} filter")
        )
        yield part.found(
            "tries-short",
            "warning",
            f"max_interval of the retries is {each_try:g} s, of a timeout of {timeout:g} s",
            "Envoy takes it as the timeout of each try, too, and gives up what a busy service would have answered",
            mend={"max_interval": f"{timeout / 2:g}s"},
        )
