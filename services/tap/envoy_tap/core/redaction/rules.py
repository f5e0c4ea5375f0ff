"""What is redacted, and how."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from unicodedata import normalize

MASK = b"[redacted]"

DEFAULT_HEADERS = frozenset(
    {
        "api-key",
        "apikey",
        "authorization",
        "cookie",
        "ocp-apim-subscription-key",
        "private-token",
        "proxy-authorization",
        "set-cookie",
        "x-access-token",
        "x-amz-security-token",
        "x-api-key",
        "x-api-secret",
        "x-api-token",
        "x-apikey",
        "x-auth-request-access-token",
        "x-auth-token",
        "x-authorization",
        "x-client-secret",
        "x-csrf-token",
        "x-forwarded-access-token",
        "x-forwarded-authorization",
        "x-forwarded-client-cert",
        "x-gitlab-token",
        "x-goog-api-key",
        "x-id-token",
        "x-original-authorization",
        "x-refresh-token",
        "x-session-token",
        "x-vault-token",
        "x-xsrf-token",
    }
)
DEFAULT_NAMES = frozenset(
    {
        "access_token",
        "accesstoken",
        "api-key",
        "api_key",
        "apikey",
        "auth_token",
        "authorization",
        "authtoken",
        "card_number",
        "cardnumber",
        "client_assertion",
        "client_secret",
        "clientsecret",
        "current_password",
        "currentpassword",
        "cvc",
        "cvv",
        "id_token",
        "idtoken",
        "new_password",
        "newpassword",
        "old_password",
        "oldpassword",
        "passphrase",
        "passwd",
        "password",
        "password_confirmation",
        "private_key",
        "privatekey",
        "pwd",
        "refresh_token",
        "refreshtoken",
        "secret",
        "secret_access_key",
        "secret_key",
        "secretaccesskey",
        "secretkey",
        "session_token",
        "sessiontoken",
        "token",
        "x-api-key",
    }
)
DEFAULT_QUERY = DEFAULT_NAMES | {
    "code",
    "sig",
    "signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
}


class Pattern(StrEnum):
    """What is recognised wherever it stands."""

    CARD = "card"
    EMAIL = "email"
    JWT = "jwt"
    USERINFO = "userinfo"


class Style(StrEnum):
    """What takes a secret's place.

    `MASK` is `[redacted]`, and put in by the proxy. `HMAC` is a placeholder that is equal for equal secrets; its key is
    in no proxy, so the secret travels to the collector and is replaced there, before anything is stored.
    """

    MASK = "mask"
    HMAC = "hmac"


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is redacted beside its defaults.

    `headers`: whole values, in headers and trailers. `query`: parameters by name, wherever a URL stands.
    `names`: members of JSON bodies at any depth, and fields of forms. `paths`: values in JSON bodies
    (`cards[*].number`). All names are in lower case, and compared so.
    """

    headers: frozenset[str] = DEFAULT_HEADERS
    query: frozenset[str] = DEFAULT_QUERY
    names: frozenset[str] = DEFAULT_NAMES
    paths: frozenset[str] = frozenset()
    patterns: frozenset[Pattern] = frozenset(Pattern)
    style: Style = Style.MASK


NOTHING = Redaction(frozenset(), frozenset(), frozenset(), frozenset(), frozenset())
"""Rules that hide nothing."""


def spellings(names: Iterable[str]) -> frozenset[str]:
    """Return *names* in all ways in which they are looked for: only ASCII is compared without regard to case."""
    found = set()
    for name in names:
        # Letter by letter, too, since ß has no capital of its own in upper().
        capitals = "".join(char.upper() if len(char.upper()) == 1 else char for char in name)
        for each in (name, name.upper(), name.capitalize(), capitals):
            found |= {
                normalize(form, each).encode(errors="replace").lower().decode() for form in ("NFC", "NFD")
            }
    return frozenset(found)
