"""Requests whose peer shows what proves nothing: refused, since a DENY of that very peer would not match."""

import logging

from envoy_authz.authenticators.answers import REALM, REFUSED
from envoy_authz.core.authentication import ANONYMOUS, Authentication, Refusal
from envoy_authz.core.request import RequestView
from envoy_authz.identity.callers import Callers
from envoy_authz.identity.certificate import CertificateError
from envoy_authz.identity.xfcc import XfccError
from envoy_authz.tokens.flaws import Flaw

LOG = logging.getLogger(__name__)
REASON = "workload"


class PeerAuthenticator:
    """An `Authenticator` that refuses a certificate or a forwarded identity that is no workload's."""

    def __init__(self, callers: Callers) -> None:
        self._prove = callers.prove

    def authenticate(self, request: RequestView) -> Authentication:
        """Return a refusal or nothing: who it is, policies ask themselves. Never raises."""
        try:
            self._prove(request)
        except (CertificateError, XfccError) as error:
            # The messages of both hold nothing of what was sent.
            return Authentication(refusal=Refusal(REASON, str(error), f'Bearer realm="{REALM}"'))
        except Exception:
            LOG.exception("a request could not be authenticated and was refused")
            return REFUSED[Flaw.INTERNAL]
        return ANONYMOUS
