"""The file of what can never be captured.

never:
  paths: [/login, "/accounts/{id}/pin", "/admin/**"]
  headers: [x-ssn]
  clusters: [payments-*]
  sockets: true
"""

import re
from pathlib import Path

from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Problem, Reader
from envoy_tap.core.policy import Policy, path_problem
from envoy_tap.core.predicate.fields import known_to_envoy

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def read_policy(path: Path | None) -> Policy:
    """Return the policy of a file, an empty one for None; raises InvalidConfigurationError."""
    if path is None:
        return Policy()
    try:
        documents = read_documents(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError([Finding(Position(str(path)), f"cannot be read: {error}")]) from None
    if len(documents) != 1:
        finding = Finding(
            Position(str(path)), f"holds {len(documents)} documents", "write one, with the key never"
        )
        raise InvalidConfigurationError([finding])
    reader = Reader()
    policy = _policy(reader, documents[0])
    if reader.findings:
        raise InvalidConfigurationError(reader.findings)
    return policy


def _policy(reader: Reader, document: Node) -> Policy:
    never = reader.fields(document, ("never",)).get("never")
    if never is None:
        reader.report(document, "has no key never", "see docs/tap.md")
        return Policy()
    found = reader.fields(never, ("paths", "headers", "clusters", "sockets"))
    return Policy(
        reader.strings(found.get("paths"), path_problem),
        known_to_envoy(name.lower() for name in reader.strings(found.get("headers"), _header)),
        reader.strings(found.get("clusters"), lambda _name: None),
        reader.flag(found.get("sockets")),
    )


def _header(text: str) -> Problem | None:
    return None if _TOKEN.fullmatch(text) else (f"{text!r} is not a header name", "")
