"""Authenticators and decisions from other packages, found by entry point and used only when named.

That a package is installed must not change what is decided: each plug-in is enabled by its name.
"""

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

from envoy_authz.authenticators.answers import REFUSED
from envoy_authz.core.authentication import Authentication, Authenticator
from envoy_authz.core.decision import INTERNAL_ERROR, Decision
from envoy_authz.core.request import RequestView
from envoy_authz.tokens.flaws import Flaw

LOG = logging.getLogger(__name__)

AUTHENTICATORS = "envoy_authz.authenticators"
DECIDERS = "envoy_authz.deciders"

Settings = Mapping[str, object]
"""What the operator configures for a plug-in; its own affair."""


class PluginError(Exception):
    """A plug-in that is not installed, or that can't be made."""


class DecisionPlugin(Protocol):
    """Decides beside the policies."""

    def decide(self, request: RequestView, authentication: Authentication) -> Decision | None:
        """Return a decision, or None to leave it to the policies. Must not wait for anything."""


Made = TypeVar("Made")
AuthenticatorFactory = Callable[[Settings], Authenticator]
DeciderFactory = Callable[[Settings], DecisionPlugin]


def installed(group: str) -> Mapping[str, EntryPoint]:
    """Return the plug-ins of *group* (`AUTHENTICATORS` or `DECIDERS`) that are installed, by name; loads none."""
    return {point.name: point for point in entry_points(group=group)}


def load_authenticator(name: str, settings: Settings) -> Authenticator:
    """Return the authenticator *name*, made with *settings* and guarded; raises PluginError."""
    return GuardedAuthenticator(name, _make(AUTHENTICATORS, name, settings))


def load_decider(name: str, settings: Settings) -> DecisionPlugin:
    """Return the decider *name*, made with *settings* and guarded; raises PluginError."""
    return GuardedDecider(name, _make(DECIDERS, name, settings))


def _make(group: str, name: str, settings: Settings) -> Any:
    found = installed(group)
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise PluginError(f"no plug-in {name!r} in {group}; installed: {known}")
    try:
        return found[name].load()(settings)
    except Exception as error:
        raise PluginError(f"the plug-in {name!r} can't be made: {type(error).__name__}: {error}") from error


class GuardedAuthenticator:
    """A plug-in whose exceptions, and whose answers of another type, are refusals."""

    def __init__(self, name: str, plugin: Authenticator) -> None:
        self._name = name
        self._plugin = plugin

    def authenticate(self, request: RequestView) -> Authentication:
        """Return what the plug-in found; see `Authenticator`. Never raises."""
        try:
            found: object = self._plugin.authenticate(request)
            if isinstance(found, Authentication):
                return found
            LOG.error("the authenticator %s answered with %s", self._name, type(found).__name__)
        except Exception:
            LOG.exception("the authenticator %s failed; the request was refused", self._name)
        return REFUSED[Flaw.INTERNAL]


class GuardedDecider:
    """A plug-in whose exceptions, and whose answers of another type, are denials."""

    def __init__(self, name: str, plugin: DecisionPlugin) -> None:
        self._name = name
        self._plugin = plugin

    def decide(self, request: RequestView, authentication: Authentication) -> Decision | None:
        """Return what the plug-in decided; see `DecisionPlugin`. Never raises."""
        try:
            decision: object = self._plugin.decide(request, authentication)
            if decision is None or isinstance(decision, Decision):
                return decision
            LOG.error("the decider %s answered with %s", self._name, type(decision).__name__)
        except Exception:
            LOG.exception("the decider %s failed; the request was denied", self._name)
        return INTERNAL_ERROR
