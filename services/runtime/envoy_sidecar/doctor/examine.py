"""All checks over one configuration."""

from collections.abc import Collection, Iterator, Sequence

from envoy_sidecar.doctor.checks import authz, calls, clusters, manager, ratelimit, tap
from envoy_sidecar.doctor.diagnosis import SERVICES, SEVERITIES, Diagnosis, Service
from envoy_sidecar.doctor.model import Configuration
from envoy_sidecar.doctor.source import SourceError

OLDEST = (1, 36)
"""The oldest Envoy that the tests are run against."""

_CHECKS = (manager.check, authz.check, ratelimit.check, tap.check, calls.check, clusters.check)
_MISSING = {"authz": authz.missing, "ratelimit": ratelimit.missing, "tap": tap.missing}


def examine(
    configuration: Configuration, services: Sequence[Service] = (), ignore: Collection[str] = ()
) -> list[Diagnosis]:
    """Return all findings, in the order of services and then the worst first.

    *services* are those that Envoy has to call; without any, a service that is not called is a note only. *ignore* are
    names of checks. Raises SourceError when there is nothing to look at, or the Envoy is too old.
    """
    _usable(configuration)
    asked = services or SERVICES
    found = [
        each for each in _all(configuration, services) if each.service in asked and each.check not in ignore
    ]
    return sorted(found, key=lambda each: (SERVICES.index(each.service), SEVERITIES.index(each.severity)))


def _all(configuration: Configuration, services: Sequence[Service]) -> Iterator[Diagnosis]:
    for check in _CHECKS:
        yield from check(configuration)
    for service in SERVICES:
        yield from _MISSING[service](configuration, "error" if service in services else "note")


def _usable(configuration: Configuration) -> None:
    if configuration.version is not None and configuration.version < OLDEST:
        version, oldest = (".".join(map(str, each)) for each in (configuration.version, OLDEST))
        raise SourceError(
            f"{configuration.origin}: is Envoy {version}, and {oldest} is the oldest that these services are tested with"
        )
    if not configuration.managers:
        raise SourceError(
            f"{configuration.origin}: has no HTTP connection manager to look at: {_instead(configuration)}"
        )


def _instead(configuration: Configuration) -> str:
    """Say what a *configuration* without HTTP connection managers has, and what to do."""
    if configuration.listeners:
        types = sorted(configuration.network_filters)
        return f"its listeners have {', '.join(types) or 'no network filter'}"
    if configuration.live:
        return "it has no listener yet; see whether it reaches its control plane"
    return "it has no listener; if they come from a control plane, ask the running Envoy with --envoy"
