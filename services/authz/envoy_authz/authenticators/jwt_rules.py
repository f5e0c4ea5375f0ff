"""Requests authenticated by JWT rules: tokens found, verified, remembered, and turned into what the upstream sees."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from envoy_authz.authenticators.answers import REFUSED
from envoy_authz.authenticators.binding import SenderChecker, is_bound
from envoy_authz.authenticators.model import JwtRule
from envoy_authz.authenticators.outputs import Outputs
from envoy_authz.authenticators.places import Kind, Place, Places, without_cookies
from envoy_authz.core.authentication import Authentication, VerifiedToken
from envoy_authz.core.request import RequestView
from envoy_authz.tokens.cache import DEFAULT_CAPACITY, Entry, TokenCache, digest
from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.jwt import parse_jwt
from envoy_authz.tokens.verify import Expectations, KeySource, verify

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    expected: Expectations
    source: KeySource
    outputs: Outputs
    forward: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Accepted:
    """A token that was verified; `authentication` is the whole answer if it is the only one and `final`."""

    token: VerifiedToken
    authentication: Authentication
    strip: bool
    final: bool
    bound: bool


class JwtRulesAuthenticator:
    """An `Authenticator` by one set of rules; any number of tokens, all of which must be valid.

    *sources* has the keys for each rule. *clock* gives unix seconds. *identity_headers* are removed like those that
    the rules may set and don't. Used by one thread at a time.
    """

    def __init__(
        self,
        rules: Iterable[JwtRule],
        sources: Mapping[JwtRule, KeySource],
        *,
        clock: Callable[[], float] = time.time,
        senders: SenderChecker | None = None,
        capacity: int = DEFAULT_CAPACITY,
        identity_headers: frozenset[str] = frozenset(),
    ) -> None:
        rules = tuple(rules)
        self._clock = clock
        self._senders = SenderChecker(clock) if senders is None else senders
        self._places: Places[_Rule] = Places((rule, _compiled(rule, sources[rule])) for rule in rules)
        own = frozenset(header for rule in rules for header in rule.output_headers)
        self._identity_headers = own | identity_headers
        self._anonymous = Authentication(remove_headers=tuple(sorted(self._identity_headers)))
        self._capacity = capacity
        self._caches: dict[Place[_Rule], TokenCache[_Accepted]] = {}

    def authenticate(self, request: RequestView) -> Authentication:
        """Return what is known of the caller of *request*; see `Authenticator`. Never raises."""
        try:
            return self._authenticate(request)
        except TokenError as error:
            return REFUSED[error.flaw]
        except Exception:
            LOG.exception("a request could not be authenticated and was refused")
            return REFUSED[Flaw.INTERNAL]

    def _authenticate(self, request: RequestView) -> Authentication:
        # Browsers send preflights without credentials, so nothing that could be refused is in them.
        if request.method == "OPTIONS" and _is_preflight(request):
            return self._anonymous
        found = self._places.find(request)
        if not found:
            return self._anonymous
        if len(found) == 1:
            place, text = found[0]
            accepted = self._accept(place, text, request)
            return accepted.authentication if accepted.final else self._combine([(place, accepted)], request)
        return self._combine([(place, self._accept(place, text, request)) for place, text in found], request)

    def _accept(self, place: Place[_Rule], text: str, request: RequestView) -> _Accepted:
        cache = self._caches.get(place)
        if cache is None:
            cache = self._caches[place] = TokenCache(self._capacity)
        key = digest(text)
        now_s = self._clock()
        accepted = cache.get(key, now_s)
        if accepted is None:
            entry = self._verify(place, text, now_s)
            cache.put(key, entry)
            accepted = entry.value
        # A bound token is remembered as verified, and its sender has to prove it each time.
        if accepted.bound:
            self._senders.check(accepted.token, text, request, by_dpop=place.is_dpop)
        return accepted

    def _verify(self, place: Place[_Rule], text: str, now_s: float) -> Entry[_Accepted]:
        jwt = parse_jwt(text)
        issuer = jwt.claims.get("iss")
        rules = place.rules.get(issuer) if isinstance(issuer, str) else None
        if rules is None:
            raise TokenError(Flaw.ISSUER)
        flaw = Flaw.ISSUER
        for rule in rules:
            keys = rule.source.keys
            try:
                token = verify(jwt, rule.source, rule.expected, now_s)
            except TokenError as error:
                flaw = error.flaw
            else:
                accepted = self._accepted(place, rule, token, jwt.payload)
                return Entry(accepted, token.expires_at_s, rule.source, keys)
        raise TokenError(flaw)

    def _accepted(self, place: Place[_Rule], rule: _Rule, token: VerifiedToken, payload: str) -> _Accepted:
        headers = rule.outputs.headers(token, payload)
        strip = not rule.forward
        removed = self._identity_headers
        parameters: tuple[str, ...] = ()
        if strip and place.kind is Kind.HEADER:
            removed |= {place.name, "dpop"} if place.is_dpop else {place.name}
        elif strip and place.kind is Kind.PARAMETER:
            parameters = (place.name,)
        authentication = Authentication(
            tokens=(token,),
            set_headers=headers,
            # What is set must not be removed as well: Envoy removes last.
            remove_headers=tuple(sorted(removed.difference(name for name, _ in headers))),
            remove_query_parameters=parameters,
        )
        return _Accepted(
            token,
            authentication,
            strip,
            final=not (strip and place.kind is Kind.COOKIE),
            bound=place.is_dpop or is_bound(token),
        )

    def _combine(self, found: list[tuple[Place[_Rule], _Accepted]], request: RequestView) -> Authentication:
        headers: dict[str, str] = {}
        removed: set[str] = set()
        parameters: list[str] = []
        cookies = [place.name for place, one in found if place.kind is Kind.COOKIE and one.strip]
        for _place, accepted in found:
            authentication = accepted.authentication
            for name, value in authentication.set_headers:
                headers.setdefault(name, value)
            removed.update(authentication.remove_headers)
            parameters.extend(authentication.remove_query_parameters)
        if cookies:
            rest = without_cookies(request.header("cookie") or "", cookies)
            if rest:
                headers["cookie"] = rest
            else:
                removed.add("cookie")
        return Authentication(
            tokens=tuple(accepted.token for _place, accepted in found),
            set_headers=tuple(headers.items()),
            remove_headers=tuple(sorted(removed.difference(headers))),
            remove_query_parameters=tuple(parameters),
        )


def _compiled(rule: JwtRule, source: KeySource) -> _Rule:
    expected = Expectations(
        rule.issuer,
        frozenset(rule.audiences),
        rule.algorithms,
        rule.types,
        rule.require_expiry,
        rule.skew_s,
    )
    return _Rule(expected, source, Outputs.of(rule), rule.forward_original_token)


def _is_preflight(request: RequestView) -> bool:
    """Say whether this is a CORS preflight (Fetch, section 4.8)."""
    return bool(request.header("origin")) and bool(request.header("access-control-request-method"))
