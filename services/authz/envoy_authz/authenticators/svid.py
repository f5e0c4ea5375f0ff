"""Requests authenticated by JWT-SVIDs in a header."""

import logging
import time
from collections.abc import Callable

from envoy_authz.authenticators.answers import REFUSED
from envoy_authz.authenticators.binding import SenderChecker
from envoy_authz.authenticators.model import HeaderPlace, JwtRule
from envoy_authz.authenticators.places import DEFAULT_HEADER, Place, Places
from envoy_authz.core.authentication import ANONYMOUS, Authentication
from envoy_authz.core.request import RequestView
from envoy_authz.tokens.cache import DEFAULT_CAPACITY, Entry, TokenCache, digest
from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.jwt import parse_jwt
from envoy_authz.tokens.svid import SvidVerifier

LOG = logging.getLogger(__name__)


class SvidAuthenticator:
    """An `Authenticator` by the JWT-SVID in *place*, which is removed from the request. *clock* gives unix seconds.

    One that is bound to its sender (`cnf`) needs the proof that *senders* checks.
    """

    def __init__(
        self,
        verifier: SvidVerifier,
        place: HeaderPlace = DEFAULT_HEADER,
        *,
        clock: Callable[[], float] = time.time,
        senders: SenderChecker | None = None,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        self._verifier = verifier
        self._senders = SenderChecker(clock) if senders is None else senders
        self._places: Places[None] = Places([(JwtRule("", from_headers=(place,)), None)])
        self._header = place.name
        self._clock = clock
        self._cache: TokenCache[Authentication] = TokenCache(capacity)

    def authenticate(self, request: RequestView) -> Authentication:
        """Return who calls; see `Authenticator`. Never raises."""
        try:
            found = self._places.find(request)
            if not found:
                return ANONYMOUS
            return self._accept(*found[0], request)
        except TokenError as error:
            return REFUSED[error.flaw]
        except Exception:
            LOG.exception("a request could not be authenticated and was refused")
            return REFUSED[Flaw.INTERNAL]

    def _accept(self, place: Place[None], text: str, request: RequestView) -> Authentication:
        key, now_s = digest(text), self._clock()
        known = self._cache.get(key, now_s)
        if known is None:
            jwt = parse_jwt(text)
            source = self._verifier.source(jwt)
            keys = source.keys
            token = self._verifier.verify(jwt, now_s)
            known = Authentication((token,), remove_headers=(self._header,))
            self._cache.put(key, Entry(known, token.expires_at_s, source, keys))
        self._senders.check_bound(known.tokens[0], text, request, by_dpop=place.is_dpop)
        return known
