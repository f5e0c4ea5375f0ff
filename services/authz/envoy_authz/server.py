"""The authz service as the runtime serves it: policies from files, checks by gRPC."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from envoy_authz.authenticators.binding import SenderChecker
from envoy_authz.authenticators.configured import IdentitySettings, IntrospectionKeeper, make_authenticator
from envoy_authz.authenticators.deciders import PluggedPolicies
from envoy_authz.authenticators.plugins import PluginError, load_authenticator, load_decider
from envoy_authz.authenticators.request_authentication import RequestAuthenticator
from envoy_authz.config import LoadedPolicies
from envoy_authz.config.whole import load_all
from envoy_authz.core import Authenticator, Options, PolicySet
from envoy_authz.core.aliases import with_own_names
from envoy_authz.decision_log import DecisionLog
from envoy_authz.handler import Authorizer, OnError
from envoy_authz.identity.callers import Callers
from envoy_authz.settings import AuthzSettings
from envoy_authz.tokens.schedule import Timing
from envoy_authz.tokens.sources import KeyRing
from envoy_authz.wire import Decider, Recorder
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.telemetry.instruments import Instrument
from envoy_sidecar.transport.port import Service

LOG = logging.getLogger(__name__)
_DEFAULTS = Options()
_Plugin = TypeVar("_Plugin")


class _Loaded(NamedTuple):
    policies: LoadedPolicies
    identity: IdentitySettings
    authenticators: list[Authenticator]
    compiled: PolicySet
    decider: Decider
    callers: Callers


class AuthzSidecar:
    """A `Sidecar` that decides by the policies in *paths* (files, or folders with all below them).

    *identity* is the file that says how callers are known; *authenticators* and *deciders* are the plug-ins to use.
    *workers* is how many processes serve it.
    Raises InvalidConfigurationError when they can't be used.
    """

    name = "authz"

    def __init__(
        self,
        paths: Sequence[Path],
        options: Options = _DEFAULTS,
        *,
        on_error: OnError = "deny",
        identity: Path | None = None,
        authenticators: Sequence[str] = (),
        deciders: Sequence[str] = (),
        log: DecisionLog | None = None,
        log_attributes: Sequence[str] = (),
        timing: Timing | None = None,
        workers: int = 1,
    ) -> None:
        self._paths = paths
        self._options = options
        self._identity = identity
        self._plugins = (tuple(authenticators), tuple(deciders))
        self._log = log
        self._attributes = tuple(log_attributes)
        self._workers = workers
        self._ring = KeyRing(timing)
        # Kept by reloads: a proof of possession that was used stays used.
        self._senders = SenderChecker(time.time)
        self._introspection = IntrospectionKeeper(self._senders)
        self._loaded = loaded = self._load()
        self._authorizer = Authorizer(
            loaded.compiled,
            authenticator=self._authenticator(loaded),
            on_error=on_error,
            decider=loaded.decider,
            recorder=self._recorder(loaded),
        )
        self.services: Sequence[Service] = (self._authorizer.service(),)
        self.tallies: Sequence[Instrument] = (
            *self._authorizer.tallies,
            *self._ring.instruments,
            self._introspection.results,
            *(() if log is None else log.tallies),
        )

    @classmethod
    def of(cls, settings: AuthzSettings) -> "AuthzSidecar":
        """Return what `serve` serves with *settings*."""
        return cls(
            settings.policies,
            settings.decisions,
            on_error=settings.on_error,
            identity=settings.identity,
            authenticators=settings.authenticator,
            deciders=settings.decider,
            log=settings.make_log(),
            log_attributes=settings.log_attribute,
            timing=settings.key_timing,
            workers=settings.workers,
        )

    @property
    def watched(self) -> Sequence[Path]:
        """The policies, the file of identity, and the files that they name."""
        identity = () if self._identity is None else (self._identity, *self._loaded.identity.files)
        keys = (file for one in self._loaded.policies.authentications for file in one.files)
        return (*self._paths, *identity, *keys)

    def reload(self) -> str:
        """Read the policies again and decide by them from the next batch on; see `Sidecar.reload`."""
        loaded = self._load()
        authenticator = self._authenticator(loaded)
        self._authorizer.swap(
            loaded.compiled, authenticator, decider=loaded.decider, recorder=self._recorder(loaded)
        )
        self._loaded = loaded
        self._introspection.retire()
        return self._announce()

    def _load(self) -> _Loaded:
        options = self._options
        read, identity = load_all(self._paths, self._identity, options)
        policies = replace(read, documents=())  # findings have their places, so these need not stay in memory
        authenticators, deciders = self._plugins
        for name in sorted(set(identity.plugins) - {*authenticators, *deciders}):
            self._refuse(f"the plug-in {name!r} has settings and is not used", f"add --authenticator {name}")
        made = [self._plugin(load_authenticator, name, identity) for name in authenticators]
        deciding = [self._plugin(load_decider, name, identity) for name in deciders]
        callers = Callers(identity.peers)
        named = [with_own_names(policy, identity.peers.aliases) for policy in policies.policies]
        compiled = PolicySet(named, options=replace(options, identify=callers.identify))
        decider: Decider = PluggedPolicies(compiled, deciding) if deciding else compiled
        return _Loaded(policies, identity, made, compiled, decider, callers)

    def _plugin(
        self, load: Callable[[str, Mapping[str, object]], _Plugin], name: str, identity: IdentitySettings
    ) -> _Plugin:
        try:
            return load(name, identity.plugins.get(name, {}))
        except PluginError as error:
            self._refuse(str(error), "its settings are under spec.plugins of --identity")

    def _refuse(self, message: str, hint: str) -> NoReturn:
        place = Position("--authenticator, --decider" if self._identity is None else str(self._identity))
        raise InvalidConfigurationError([Finding(place, message, hint)])

    def _authenticator(self, loaded: _Loaded) -> Authenticator | None:
        others = list(loaded.authenticators)
        if loaded.policies.authentications:
            root = self._options.root_namespace
            by_rules = RequestAuthenticator(
                loaded.policies.authentications, self._ring, root_namespace=root, senders=self._senders
            )
            others.insert(0, by_rules)
        else:
            self._ring.use(())
        self._senders.origin = loaded.identity.origin
        asked = self._introspection.use(loaded.identity.introspection)
        return make_authenticator(loaded.identity, loaded.callers, asked, others, self._senders)

    def _recorder(self, loaded: _Loaded) -> Recorder | None:
        return None if self._log is None else Recorder(self._log, loaded.compiled.facts, self._attributes)

    def describe(self) -> Mapping[str, object]:
        """Return the policies that decide now, the files they came from, and what deserves a second look."""
        loaded = self._loaded.policies
        return {
            "default_action": self._authorizer.policies.default_action.value,
            "policies": [
                {
                    "name": policy.full_name,
                    "action": policy.action.value,
                    "rules": len(policy.rules),
                    **({"dry_run": True} if policy.dry_run else {}),
                }
                for policy in loaded.policies
            ],
            "request_authentications": [one.full_name for one in loaded.authentications],
            "keys": list(self._ring.describe()),
            "identity": self._loaded.identity.describe(),
            "authenticators": list(self._plugins[0]),
            "deciders": list(self._plugins[1]),
            "decision_log": None if self._log is None else self._log.describe(),
            "root_namespace": self._options.root_namespace,
            "trusted_hops": self._options.trusted_hops,
            "path_normalization": self._options.normalization.value,
            "path_ambiguity": self._options.path_ambiguity.value,
            "files": [str(file) for file in loaded.files],
            "warnings": [str(finding) for finding in loaded.warnings],
        }

    def concerns(self) -> Sequence[str]:
        """Return the warnings about the policies that decide now, and keys that can't be had."""
        keys = [
            f"keys of {one['uri']}: {one['trouble']}" for one in self._ring.describe() if one.get("trouble")
        ]
        return [*(str(finding) for finding in self._loaded.policies.warnings), *keys]

    async def start(self) -> None:
        """Say what the start found, and begin to fetch keys, to ask issuers, and to write decisions."""
        if self._log is not None:
            self._log.start()
        self._introspection.start()
        await self._ring.start()
        LOG.info("%s", self._announce())

    async def until_configured(self) -> None:
        """Return at once: the policies were read before."""

    async def drain(self) -> None:
        """Do nothing: no stream is served."""

    async def stop(self) -> None:
        """End all that, with every decision written."""
        await self._ring.stop()
        self._introspection.stop()
        if self._log is not None:
            self._log.stop()

    def _announce(self) -> str:
        loaded = self._loaded.policies
        for finding in loaded.warnings:
            LOG.warning("%s", finding)
        origin = self._loaded.identity.origin
        if self._workers > 1 and (origin or loaded.authentications):
            LOG.log(
                logging.WARNING if origin else logging.INFO,
                "each of %d workers remembers the DPoP proofs that it saw: one may be used again at another within 60 s",
                self._workers,
            )
        return f"policies: {len(loaded.policies)}, files: {len(loaded.files)}"
