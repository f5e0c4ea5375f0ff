"""The file of tokens, of which it holds hashes.

- name: alice
role: operator
teams: [payments]
sha256: 5e88…
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Problem, Reader
from envoy_tap.access.files import check_name, read_file
from envoy_tap.access.people import Person, Role

_SHA256 = re.compile(r"[0-9a-f]{64}")


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
    documents = read_file(path)
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
    found = reader.fields(item, ("name", "role", "teams", "sha256"))
    for key in ("name", "role", "sha256"):
        if key not in found and item.mapping is not None:
            reader.report(item, f"has no {key}")
    name = reader.checked(found["name"], check_name) if "name" in found else ""
    role = reader.checked(found["role"], _check_role) if "role" in found else ""
    sha256 = reader.checked(found["sha256"], _check_sha256) if "sha256" in found else ""
    teams = frozenset(reader.strings(found.get("teams"), check_name))
    return sha256, Person(name, Role[role.upper()] if _check_role(role) is None else Role.VIEWER, teams)


def _check_role(text: str) -> Problem | None:
    known = [role.name.lower() for role in Role]
    return None if text in known else (f"{text!r} is not a role", f"known are {', '.join(known)}")


def _check_sha256(text: str) -> Problem | None:
    hint = "64 hexadecimal digits in lower case: printf %s TOKEN | sha256sum"
    return None if _SHA256.fullmatch(text) else ("this is not the SHA-256 of a token", hint)
