"""What the operator configures of identity, and the authenticators that it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envoy_authz.authenticators.api_keys import ApiKey, ApiKeyAuthenticator
from envoy_authz.authenticators.binding import SenderChecker
from envoy_authz.authenticators.chain import AuthenticatorChain
from envoy_authz.authenticators.introspection import IntrospectionAuthenticator, IntrospectionLimits
from envoy_authz.authenticators.introspection_http import IntrospectionEndpoint
from envoy_authz.authenticators.model import HeaderPlace
from envoy_authz.authenticators.peers import PeerAuthenticator
from envoy_authz.authenticators.svid import SvidAuthenticator
from envoy_authz.core.authentication import Authenticator
from envoy_authz.identity.callers import Callers, Peers
from envoy_authz.tokens.sources import StaticKeys
from envoy_authz.tokens.svid import SvidVerifier, parse_bundle
from envoy_authz.tokens.verify import Expectations
from envoy_sidecar.telemetry.tally import Tally


@dataclass(frozen=True, slots=True)
class SvidSettings:
    """JWT-SVIDs: `bundles` has the text of a bundle for each trust domain."""

    place: HeaderPlace
    audiences: tuple[str, ...]
    bundles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ApiKeySettings:
    """API keys in `header`, each kept by its hash."""

    header: str
    keys: tuple[ApiKey, ...]


@dataclass(frozen=True, slots=True)
class IntrospectionSettings:
    """Opaque tokens, examined at `uri` as `client_id`; a request waits for it `wait_s`."""

    uri: str
    client_id: str
    secret: str = field(repr=False)
    issuer: str
    audiences: tuple[str, ...]
    place: HeaderPlace
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """All of it; `plugins` has the settings of each by its name, and `files` are those that were read with it.

    `origin` is what DPoP proofs name, empty for the scheme and authority that Envoy sees.
    """

    peers: Peers = field(default_factory=Peers)
    svid: SvidSettings | None = None
    api_keys: ApiKeySettings | None = None
    introspection: IntrospectionSettings | None = None
    plugins: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    origin: str = ""
    files: tuple[Path, ...] = ()

    def describe(self) -> Mapping[str, object]:
        """Return all of it that is no secret, as JSON values."""
        peers, svid, keys, asked = self.peers, self.svid, self.api_keys, self.introspection
        return {
            "proof": peers.proof.value,
            "trust_domain_aliases": dict(peers.aliases),
            "forwarded_by": sorted(peers.forwarded_by),
            "origin": self.origin,
            "trusted_hops": peers.trusted_hops if peers.forwarded_by else 0,
            "jwt_svid": None
            if svid is None
            else {"header": svid.place.name, "domains": sorted(svid.bundles)},
            "api_keys": None if keys is None else {"header": keys.header, "keys": len(keys.keys)},
            "introspection": None if asked is None else {"uri": asked.uri, "header": asked.place.name},
        }


class IntrospectionKeeper:
    """The one introspection of a process, which a reload that leaves it alone does not start again."""

    def __init__(self, senders: SenderChecker | None = None) -> None:
        self._senders = senders
        self.results = Tally("authz.introspections", "Tokens examined by their issuer.", ("result",))
        self.results.begin([("active",), ("inactive",), ("failed",)])
        self._settings: IntrospectionSettings | None = None
        self._now: IntrospectionAuthenticator | None = None
        self._old: list[IntrospectionAuthenticator] = []
        self._running = False

    def use(self, settings: IntrospectionSettings | None) -> IntrospectionAuthenticator | None:
        """Return the authenticator for *settings*; `retire` ends the one before it, once nobody asks it any more."""
        if settings == self._settings:
            return self._now
        if self._now is not None:
            self._old.append(self._now)
        self._settings = settings
        self._now = None if settings is None else self._made(settings)
        if self._now is not None and self._running:
            self._now.start()
        return self._now

    def _made(self, settings: IntrospectionSettings) -> IntrospectionAuthenticator:
        return IntrospectionAuthenticator(
            IntrospectionEndpoint(settings.uri, settings.client_id, settings.secret),
            Expectations(settings.issuer, frozenset(settings.audiences)),
            settings.place,
            limits=IntrospectionLimits(wait_s=settings.wait_s),
            senders=self._senders,
            count=lambda result: self.results.add((result,)),
        )

    def retire(self) -> None:
        """End those that were replaced."""
        while self._old:
            self._old.pop().stop()

    def start(self) -> None:
        """Begin to ask."""
        self._running = True
        if self._now is not None:
            self._now.start()

    def stop(self) -> None:
        """End it."""
        self._running = False
        self.retire()
        if self._now is not None:
            self._now.stop()


def make_authenticator(
    settings: IdentitySettings,
    callers: Callers,
    introspection: IntrospectionAuthenticator | None,
    others: Sequence[Authenticator],
    senders: SenderChecker | None = None,
) -> Authenticator | None:
    """Return all authenticators of *settings* and *others* as one, in the order of their cost; None if there is none."""
    members: list[Authenticator] = []
    if not callers.is_plain:
        members.append(PeerAuthenticator(callers))
    if settings.api_keys is not None:
        members.append(ApiKeyAuthenticator(settings.api_keys.keys, settings.api_keys.header))
    if settings.svid is not None:
        bundles = {domain: StaticKeys(parse_bundle(text)) for domain, text in settings.svid.bundles.items()}
        verifier = SvidVerifier(bundles, frozenset(settings.svid.audiences))
        members.append(SvidAuthenticator(verifier, settings.svid.place, senders=senders))
    members.extend(others)
    if introspection is not None:
        members.append(introspection)
    if len(members) <= 1:
        return members[0] if members else None
    return AuthenticatorChain(members)
