"""Where a command finds policies, and how they decide: the options of `serve` that must be the same for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from envoy_authz.authenticators.configured import make_authenticator
from envoy_authz.authenticators.request_authentication import RequestAuthenticator
from envoy_authz.commands.output import say
from envoy_authz.config import LoadedPolicies
from envoy_authz.config.whole import load_all
from envoy_authz.core import Action, Authenticator, Normalization, Options, PathAmbiguity, PolicySet
from envoy_authz.core.aliases import with_own_names
from envoy_authz.identity.callers import Callers, Peers
from envoy_authz.tokens.sources import KeyRing
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.settings import SettingsError, source_paths

PoliciesOption = Annotated[tuple[Path, ...], source_paths("AuthorizationPolicy files, or folders of them.")]
PathsArgument = Annotated[tuple[Path, ...], Parameter(help="Policy files, or folders of them.", negative=())]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """How the service decides, beside what stands in the policies; see `serve`."""

    default_action: Annotated[
        Literal["deny", "allow"], Parameter(help="When no ALLOW policy applies and no DENY policy matches.")
    ] = "deny"
    root_namespace: Annotated[str, Parameter(help="Whose policies apply to all namespaces.")] = "istio-system"
    trusted_hops: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=0, lte=32),
            help="Proxies before Envoy whose X-Forwarded-For is believed.",
        ),
    ] = 0
    path_normalization: Annotated[
        Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"],
        Parameter(help="How paths are normalized before they are compared."),
    ] = "BASE"
    path_ambiguity: Annotated[
        Literal["deny", "report", "off"], Parameter(help="What others would read as a denied path.")
    ] = "deny"
    identity: Annotated[
        Path | None, Parameter(help="File that says how callers are known: peers, JWT-SVIDs, API keys.")
    ] = None
    decider: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(), help="Plug-in that the service asks first: it is not asked here, and that is said."
        ),
    ] = ()

    @property
    def options(self) -> Options:
        """The same for the core."""
        return Options(
            default_action=Action(self.default_action.upper()),
            root_namespace=self.root_namespace,
            trusted_hops=self.trusted_hops,
            normalization=Normalization(self.path_normalization),
            path_ambiguity=PathAmbiguity(self.path_ambiguity),
        )


@dataclass(frozen=True, slots=True)
class Source:
    """Policies as they were read, and compiled; *callers* and *authenticator* say who calls, as in the service.

    Keys by HTTPS are not fetched, and no issuer is asked about a token.
    """

    loaded: LoadedPolicies
    policies: PolicySet
    callers: Callers = field(default_factory=lambda: Callers(Peers()))
    authenticator: Authenticator | None = None


def load(paths: Sequence[Path], deciding: Deciding | None) -> Source:
    """Return the policies of *paths*. Raises SettingsError, with all findings, if they can't be used."""
    chosen = deciding or Deciding()
    options = chosen.options
    if chosen.decider:
        names = ", ".join(chosen.decider)
        say(
            f"note: {names} may decide otherwise (--decider), and is not asked here: `check` asks the service"
        )
    try:
        loaded, identity = load_all(paths, chosen.identity, options)
    except InvalidConfigurationError as error:
        raise SettingsError(f"the policies can't be used:\n{error}") from None
    callers = Callers(identity.peers)
    policies = [with_own_names(policy, identity.peers.aliases) for policy in loaded.policies]
    others: list[Authenticator] = []
    if loaded.authentications:
        root = options.root_namespace
        others.append(RequestAuthenticator(loaded.authentications, KeyRing(), root_namespace=root))
    return Source(
        loaded,
        PolicySet(policies, options=options),
        callers,
        make_authenticator(identity, callers, None, others),
    )
