"""Proofs of possession: DPoP (RFC 9449), each accepted once."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from envoy_authz.tokens.algorithms import ALL
from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.jwt import Jwt, parse_jwt
from envoy_authz.tokens.keys import UnusableKeyError, parse_jwk
from envoy_authz.tokens.strict import encode_base64url
from envoy_authz.tokens.verify import check_signature_by, read_time

DEFAULT_WINDOW_S = 60.0
"""How far a proof's `iat` may be from now, in seconds, in either direction."""

DEFAULT_CAPACITY = 100_000
MAX_JTI_LENGTH = 256
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class ReplayCache:
    """The proofs that were used, until they would be refused for their age; bounded.

    When it is full of proofs that still could be replayed, a new one is refused: to forget one instead would let it be
    used again. So that nobody fills it alone, no holder of a key has more of it than is left to others. Only proofs
    for valid tokens get here. It is this process's own.
    """

    __slots__ = ("_held", "_seen", "capacity")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self._seen: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def use(self, key: bytes, holder: str, now_s: float, until_s: float) -> bool:
        """Note that *holder* uses *key*, until *until_s*; false if it was used before, or if there is no room."""
        seen, held = self._seen, self._held
        while seen and next(iter(seen.values()))[0] <= now_s:
            _key, (_until_s, gone) = seen.popitem(last=False)
            held[gone] -= 1
            if not held[gone]:
                del held[gone]
        mine = held.get(holder, 0)
        if key in seen or mine >= self.capacity - len(seen):
            return False
        seen[key] = until_s, holder
        held[holder] = mine + 1
        return True


@dataclass(frozen=True, slots=True)
class Target:
    """What a proof must be for: the request's method and its URI without query and fragment (RFC 9449 section 4.3)."""

    method: str
    uri: str


class ProofVerifier:
    """Verifies DPoP proofs; *clock* gives unix seconds, *window_s* is in seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        window_s: float = DEFAULT_WINDOW_S,
        replays: ReplayCache | None = None,
    ) -> None:
        self._clock = clock
        self._window_s = window_s
        self._replays = ReplayCache() if replays is None else replays

    def check(self, proof: str, target: Target, token: str, thumbprint: str) -> None:
        """Check that *proof* is a fresh one, by the key of *thumbprint*, for *target* with *token*; raises TokenError."""
        try:
            jwt = parse_jwt(proof)
            self._check(jwt, target, token, thumbprint)
        except TokenError as error:
            raise TokenError(Flaw.REPLAYED if error.flaw is Flaw.REPLAYED else Flaw.PROOF) from None

    def _check(self, jwt: Jwt, target: Target, token: str, thumbprint: str) -> None:
        entry = jwt.header.get("jwk")
        if jwt.type != "dpop+jwt" or jwt.algorithm not in ALL or not isinstance(entry, dict):
            raise TokenError(Flaw.PROOF)
        try:
            key = parse_jwk(entry)
        except UnusableKeyError:
            raise TokenError(Flaw.PROOF) from None
        if key.thumbprint != thumbprint:
            raise TokenError(Flaw.PROOF)
        check_signature_by(jwt, key)
        claims, now_s = jwt.claims, self._clock()
        issued_s, identifier, uri = read_time(claims, "iat"), claims.get("jti"), claims.get("htu")
        if issued_s is None or abs(now_s - issued_s) > self._window_s:
            raise TokenError(Flaw.PROOF)
        if (
            claims.get("htm") != target.method
            or not isinstance(uri, str)
            or _plain(uri) != _plain(target.uri)
        ):
            raise TokenError(Flaw.PROOF)
        if claims.get("ath") != encode_base64url(sha256(token.encode()).digest()):
            raise TokenError(Flaw.PROOF)
        if not isinstance(identifier, str) or not 0 < len(identifier) <= MAX_JTI_LENGTH:
            raise TokenError(Flaw.PROOF)
        used = sha256(f"{thumbprint}.{identifier}".encode()).digest()
        # A constant time from now keeps the cache in the order of its ends.
        if not self._replays.use(used, thumbprint, now_s, now_s + 2 * self._window_s + 1):
            raise TokenError(Flaw.REPLAYED)


def _plain(uri: str) -> tuple[str, str, str]:
    """Return scheme, authority and path in one form each, without query and fragment."""
    scheme, _, rest = uri.partition("://")
    rest = rest.partition("#")[0].partition("?")[0]
    authority, slash, path = rest.partition("/")
    scheme, authority = scheme.lower(), authority.lower()
    authority = authority.removesuffix(f":{_DEFAULT_PORTS.get(scheme, '')}")
    return scheme, authority, slash + path or "/"
