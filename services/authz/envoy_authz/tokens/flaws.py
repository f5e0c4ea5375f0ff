"""Why a token is refused: one word for metrics, one line for people, and nothing of the token itself."""

from enum import StrEnum


class Flaw(StrEnum):
    """What is wrong with a token; each has a line in `MESSAGES`."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    AMBIGUOUS = "ambiguous"
    ALGORITHM = "algorithm"
    CRITICAL = "critical"
    TYPE = "type"
    KEYS_UNAVAILABLE = "keys_unavailable"
    KEY_UNKNOWN = "key_unknown"
    KEY_AMBIGUOUS = "key_ambiguous"
    SIGNATURE = "signature"
    CLAIM = "claim"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    SUBJECT = "subject"
    SENDER = "sender"
    PROOF = "proof"
    REPLAYED = "replayed"
    INACTIVE = "inactive"
    PENDING = "pending"
    INTERNAL = "internal"


MESSAGES = {
    Flaw.MALFORMED: "the token is not well formed",
    Flaw.TOO_LARGE: "the token is too large",
    Flaw.AMBIGUOUS: "the token is given more than once in one place",
    Flaw.ALGORITHM: "the token's algorithm is not allowed",
    Flaw.CRITICAL: "the token's header asks for what is not supported",
    Flaw.TYPE: "the token is of another type",
    Flaw.KEYS_UNAVAILABLE: "the issuer's keys are not available",
    Flaw.KEY_UNKNOWN: "no key of the issuer fits the token",
    Flaw.KEY_AMBIGUOUS: "more than one key of the issuer fits the token",
    Flaw.SIGNATURE: "the token's signature is wrong",
    Flaw.CLAIM: "a claim of the token is missing or not of its type",
    Flaw.EXPIRED: "the token has expired",
    Flaw.NOT_YET_VALID: "the token is not valid yet",
    Flaw.ISSUER: "the token's issuer is not accepted here",
    Flaw.AUDIENCE: "the token is for another audience",
    Flaw.SUBJECT: "the token's subject is not acceptable",
    Flaw.SENDER: "the token is bound to another sender",
    Flaw.PROOF: "the proof of possession is missing or wrong",
    Flaw.REPLAYED: "the proof of possession was used before",
    Flaw.INACTIVE: "the credential is not known or not active",
    Flaw.PENDING: "the token is being examined; try again",
    Flaw.INTERNAL: "the token could not be examined",
}


class TokenError(Exception):
    """A token that must be refused; `flaw` says why."""

    def __init__(self, flaw: Flaw) -> None:
        self.flaw = flaw
        super().__init__(MESSAGES[flaw])
