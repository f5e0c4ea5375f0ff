"""What is redacted, and how."""

from dataclasses import dataclass
from enum import StrEnum

MASK = b"[redacted]"

DEFAULT_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "ocp-apim-subscription-key",
        "private-token",
        "proxy-authorization",
        "set-cookie",
        "x-access-token",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-forwarded-client-cert",
        "x-goog-api-key",
        "x-session-token",
        "x-vault-token",
        "x-xsrf-token",
    }
)
DEFAULT_NAMES = frozenset(
    {
        "access_token",
        "accesstoken",
        "api_key",
        "apikey",
        "auth_token",
        "authtoken",
        "card_number",
        "cardnumber",
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
