"""SPIFFE IDs (SPIFFE-ID section 2), read as strictly as the standard writes them, and trust domains of two names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

SCHEME = "spiffe://"
MAX_ID_BYTES = 2048
MAX_TRUST_DOMAIN_BYTES = 255

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_DOTS = frozenset({".", ".."})


class InvalidSpiffeIdError(ValueError):
    """Text that is no SPIFFE ID; the message says which rule of the standard it breaks, and nothing of the text."""


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """An identity: `path` begins with `/`, or is empty for the trust domain itself."""

    trust_domain: str
    path: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.trust_domain}{self.path}"


def parse_trust_domain(text: str) -> str:
    """Return *text* if it is the name of a trust domain (2.1); raises InvalidSpiffeIdError."""
    if len(text) > MAX_TRUST_DOMAIN_BYTES or not _TRUST_DOMAIN.fullmatch(text):
        raise InvalidSpiffeIdError("the trust domain is not of lower-case letters, digits, `.`, `-` and `_`")
    return text


def parse_spiffe_id(text: str) -> SpiffeId:
    """Return the identity that *text* is, of which there is no second spelling; raises InvalidSpiffeIdError.

    There is no percent-encoding, no user, port, query or fragment, no empty or dot segment and no slash at the end.
    """
    if len(text) > MAX_ID_BYTES:
        raise InvalidSpiffeIdError(f"longer than {MAX_ID_BYTES} bytes")
    if not text.startswith(SCHEME):
        raise InvalidSpiffeIdError("the scheme is not spiffe")
    domain, *segments = text[len(SCHEME) :].split("/")
    parse_trust_domain(domain)
    for segment in segments:
        if segment in _DOTS or not _SEGMENT.fullmatch(segment):
            raise InvalidSpiffeIdError("a segment of the path is empty, dots, or of other characters")
    return SpiffeId(domain, "".join(f"/{segment}" for segment in segments))


class TrustDomains:
    """Trust domains that go by more names than one: identities in an alias are read as those of the domain.

    *aliases* gives the domain for each of its other names. Raises InvalidSpiffeIdError for a name that is none, and
    ValueError when an alias is itself a domain that others stand for.
    """

    __slots__ = ("_aliases",)

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self._aliases = {
            parse_trust_domain(alias): parse_trust_domain(domain) for alias, domain in (aliases or {}).items()
        }
        if not self._aliases.keys().isdisjoint(self._aliases.values()):
            raise ValueError("an alias stands for another alias; name the domain itself")

    def canonical(self, identity: SpiffeId) -> SpiffeId:
        """Return *identity* in the trust domain's own name."""
        domain = self._aliases.get(identity.trust_domain)
        return identity if domain is None else SpiffeId(domain, identity.path)

    def principal(self, text: str) -> SpiffeId | None:
        """Return the identity in Envoy's `source.principal`, by the domain's own name.

        None when it is no SPIFFE ID: Envoy falls back to a DNS name and to the subject, which prove less. That it is
        here doesn't prove that the certificate was verified; Envoy's TLS context must demand it.
        """
        try:
            return self.canonical(parse_spiffe_id(text))
        except InvalidSpiffeIdError:
            return None
