"""Who may use the session API: a file of tokens, of which it holds hashes.

- name: alice
role: operator
sha256: 5e88…
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Problem, Reader

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Role(IntEnum):
    """What one may do; each may also do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


MAY = {
    "view": Role.VIEWER,
    "export": Role.VIEWER,
    "start": Role.OPERATOR,
    "stop": Role.OPERATOR,
    "approve": Role.OPERATOR,
    "replay": Role.OPERATOR,
    "delete": Role.ADMIN,
    "audit": Role.ADMIN,
}
"""What may be done, and the least role that it takes."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and in which role."""

    name: str
    role: Role


class Tokens:
    """The people of a tokens file."""

    def __init__(self, people: Sequence[tuple[str, Person]]) -> None:
        self._people = tuple(people)

    def person(self, token: str) -> Person | None:
        """Return whose *token* is; in a time that does not tell how much of it is right."""
        digest = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        found = None
        for sha256, person in self._people:
            if hmac.compare_digest(sha256, digest):
                found = person
        return found


def read_tokens(path: Path | None) -> Tokens | None:
    """Return the tokens of a file, None for None; raises InvalidConfigurationError."""
    if path is None:
        return None
    try:
        documents = read_documents(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError([Finding(Position(str(path)), f"cannot be read: {error}")]) from None
    reader = Reader()
    people = [
        _entry(reader, item)
        for document in documents
        for item in reader.some_items(document, "nobody could use the API")
    ]
    if not documents:
        reader.findings.append(Finding(Position(str(path)), "is empty", "list at least one person"))
    if reader.findings:
        raise InvalidConfigurationError(reader.findings)
    return Tokens(people)


def _entry(reader: Reader, item: Node) -> tuple[str, Person]:
    found = reader.fields(item, ("name", "role", "sha256"))
    for key in ("name", "role", "sha256"):
        if key not in found and item.mapping is not None:
            reader.report(item, f"has no {key}")
    name = reader.checked(found["name"], _check_name) if "name" in found else ""
    role = reader.checked(found["role"], _check_role) if "role" in found else ""
    sha256 = reader.checked(found["sha256"], _check_sha256) if "sha256" in found else ""
    return sha256, Person(name, Role[role.upper()] if _check_role(role) is None else Role.VIEWER)


def _check_name(text: str) -> Problem | None:
    hint = "up to 64 letters, digits and . _ @ -, as the log shall say it"
    return None if _NAME.fullmatch(text) else (f"{text!r} is not a name", hint)


def _check_role(text: str) -> Problem | None:
    known = [role.name.lower() for role in Role]
    return None if text in known else (f"{text!r} is not a role", f"known are {', '.join(known)}")


def _check_sha256(text: str) -> Problem | None:
    hint = "64 hexadecimal digits in lower case: printf %s TOKEN | sha256sum"
    return None if _SHA256.fullmatch(text) else ("this is not the SHA-256 of a token", hint)
