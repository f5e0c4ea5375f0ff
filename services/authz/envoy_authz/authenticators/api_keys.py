"""API keys: long random secrets, kept only as hashes."""

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from envoy_authz.core.authentication import ANONYMOUS, Authentication, Refusal, VerifiedToken
from envoy_authz.core.request import RequestView
from envoy_authz.tokens.flaws import MESSAGES, Flaw
from envoy_authz.tokens.verify import NEVER

LOG = logging.getLogger(__name__)

ISSUER = "api-key"
MAX_KEY_LENGTH = 512
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: `digest` is the SHA-256 of the key in hexadecimal (`hash_api_key`).

    `name` becomes the subject, under the issuer `api-key`; `expires_at_s` is in unix seconds.
    """

    name: str
    digest: str
    claims: Mapping[str, object] = field(default_factory=dict)
    expires_at_s: float = NEVER


def new_api_key() -> str:
    """Return a new key of 256 random bits; give it to the caller once, and keep `hash_api_key` of it."""
    return secrets.token_urlsafe(_KEY_BYTES)


def hash_api_key(key: str) -> str:
    """Return what is kept of *key*. A fast hash will do, since a random key can't be guessed as a password can."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKeyAuthenticator:
    """An `Authenticator` by a key in *header* (lower case), which never goes on to the upstream.

    Raises ValueError when two keys have one digest, or one has none. *clock* gives unix seconds.
    """

    def __init__(
        self, keys: Iterable[ApiKey], header: str = "x-api-key", *, clock: Callable[[], float] = time.time
    ) -> None:
        self._header = header
        self._clock = clock
        self._found: dict[bytes, tuple[bytes, float, Authentication]] = {}
        for key in keys:
            digest = bytes.fromhex(key.digest)
            if len(digest) != sha256().digest_size or digest in self._found:
                raise ValueError(f"the digest of the API key {key.name!r} is no SHA-256, or is given twice")
            claims = {**key.claims, "iss": ISSUER, "sub": key.name}
            token = VerifiedToken(ISSUER, key.name, frozenset(), claims, key.expires_at_s)
            found = Authentication((token,), remove_headers=(header,))
            self._found[digest] = digest, key.expires_at_s, found
        challenge = f'ApiKey realm="envoy-authz", header="{header}"'
        message = MESSAGES[Flaw.INACTIVE]
        self._refused = Authentication(refusal=Refusal(Flaw.INACTIVE.value, message, challenge))

    def authenticate(self, request: RequestView) -> Authentication:
        """Return whose key the request brings; see `Authenticator`. Never raises."""
        try:
            key = request.header(self._header)
        except Exception:
            LOG.exception("a request could not be authenticated and was refused")
            return self._refused
        if key is None:
            return ANONYMOUS
        if len(key) > MAX_KEY_LENGTH:
            return self._refused
        # What a look-up by hash gives away in time is about the hash, from which no key can be made.
        digest = sha256(key.encode("utf-8", "surrogatepass")).digest()
        known, expires_s, found = self._found.get(digest, (b"", 0.0, self._refused))
        if not hmac.compare_digest(known, digest) or self._clock() >= expires_s:
            return self._refused
        return found
