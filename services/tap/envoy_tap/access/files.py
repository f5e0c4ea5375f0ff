"""What the files about access have in common."""

import re
from collections.abc import Sequence
from pathlib import Path

from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Problem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def read_file(path: Path) -> Sequence[Node]:
    """Return the documents of a YAML file; raises InvalidConfigurationError."""
    try:
        return read_documents(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigurationError([Finding(Position(str(path)), f"cannot be read: {error}")]) from None


def read_one(path: Path, key: str) -> Node:
    """Return the one document of a YAML file, a mapping with *key*; raises InvalidConfigurationError."""
    documents = read_file(path)
    if len(documents) != 1 or documents[0].mapping is None or key not in documents[0].mapping:
        position = documents[0].position if documents else Position(str(path))
        hint = f"write one document with the key {key}; see docs/tap-access.md"
        raise InvalidConfigurationError([Finding(position, f"has no {key}", hint)])
    return documents[0]


def check_name(text: str) -> Problem | None:
    """Check the name of a person or a team."""
    hint = "up to 64 letters, digits and . _ @ -, as the log shall say it"
    return None if _NAME.fullmatch(text) else (f"{text!r} is not a name", hint)
