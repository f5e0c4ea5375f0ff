"""The file of rules.

rules:
  - team: payments
    clusters: [payments-*]
    paths: ["/orders/**"]
    limits: {duration_s: 600, body_bytes: 4096}
    approval: true
    sees: [orders]
"""

from dataclasses import asdict, fields
from pathlib import Path

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.config.strict import Problem, Reader
from envoy_tap.access.files import check_name, read_one
from envoy_tap.access.rules import EVERYONE, Rule, Rules
from envoy_tap.core.policy import path_problem
from envoy_tap.core.session import MAXIMA, Limits

_FIELDS = ("team", "clusters", "paths", "limits", "approval", "sees")
_MAX_PATHS = 32


def read_rules(path: Path | None) -> Rules:
    """Return the rules of a file, those of no file for None; raises InvalidConfigurationError."""
    if path is None:
        return Rules()
    document = read_one(path, "rules")
    reader = Reader()
    items = reader.some_items(
        reader.fields(document, ("rules",))["rules"], "without a rule only admins may tap: write one"
    )
    rules = [_rule(reader, item) for item in items]
    if reader.findings:
        raise InvalidConfigurationError(reader.findings)
    return Rules(tuple(rules))


def _rule(reader: Reader, item: Node) -> Rule:
    found = reader.valued(item, reader.fields(item, _FIELDS))
    if item.mapping is not None and "team" not in item.mapping:
        reader.report(item, "has no team", "name one, or * for everyone")
    paths = reader.strings(found.get("paths"), path_problem)
    if len(paths) > _MAX_PATHS:
        reader.report(
            found["paths"], f"has more than {_MAX_PATHS} paths", "write a shorter list, or two rules"
        )
    return Rule(
        reader.checked(found["team"], _check_team) if "team" in found else "",
        reader.strings(found.get("clusters"), lambda _text: None),
        paths,
        _limits(reader, found.get("limits")),
        reader.flag(found.get("approval")),
        frozenset(reader.strings(found.get("sees"), _check_team)),
    )


def _limits(reader: Reader, node: Node | None) -> Limits:
    if node is None:
        return MAXIMA
    found = reader.fields(node, [each.name for each in fields(Limits)])
    given = {name: reader.whole(value, getattr(MAXIMA, name)) for name, value in found.items()}
    return Limits(**{**asdict(MAXIMA), **given})


def _check_team(text: str) -> Problem | None:
    return None if text == EVERYONE else check_name(text)
