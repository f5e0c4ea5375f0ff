"""The file of issuers.

issuers:
  - issuer: https://login.example.com/
    audiences: [envoy-tap]
    jwks: https://login.example.com/.well-known/jwks.json
    algorithms: [RS256]
    name: email
    role: {claim: groups, viewer: [everyone], operator: [sre], admin: [sre-leads]}
    teams: teams
"""

from pathlib import Path
from urllib.parse import urlsplit

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.config.strict import Problem, Reader
from envoy_tap.access.files import read_one
from envoy_tap.access.jwks import FileKeys, KeySource, UrlKeys
from envoy_tap.access.jwt import ALGORITHMS, Issuer, Issuers
from envoy_tap.access.people import Role

_NEEDED = ("issuer", "audiences", "jwks", "role")
_FIELDS = (*_NEEDED, "algorithms", "name", "teams")
_ROLES = {role.name.lower(): role for role in Role}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def read_issuers(path: Path | None) -> Issuers:
    """Return the issuers of a file, none for None; raises InvalidConfigurationError."""
    if path is None:
        return Issuers()
    reader = Reader()
    document = reader.fields(read_one(path, "issuers"), ("issuers",))
    issuers = [
        _issuer(reader, item, path.parent)
        for item in reader.some_items(document["issuers"], "nobody could use the API")
    ]
    if reader.findings:
        raise InvalidConfigurationError(reader.findings)
    return Issuers(issuers)


def _issuer(reader: Reader, item: Node, folder: Path) -> Issuer:
    found = reader.valued(item, reader.fields(item, _FIELDS))
    for key in _NEEDED:
        if item.mapping is not None and key not in item.mapping:
            reader.report(item, f"has no {key}", "see docs/tap-access.md")
    texts = {
        key: reader.checked(found[key], _check_any)
        for key in ("issuer", "jwks", "name", "teams")
        if key in found
    }
    claim, roles = _roles(reader, found.get("role"))
    return Issuer(
        texts.get("issuer", ""),
        reader.strings(found.get("audiences"), _check_any),
        _keys(reader, found["jwks"], texts["jwks"], folder) if texts.get("jwks") else UrlKeys(""),
        reader.strings(found.get("algorithms"), _check_algorithm) or ALGORITHMS,
        texts.get("name", "sub"),
        claim,
        roles,
        texts.get("teams", ""),
    )


def _roles(reader: Reader, node: Node | None) -> tuple[str, dict[Role, frozenset[str]]]:
    if node is None:
        return "", {}
    found = reader.fields(node, ("claim", *_ROLES))
    if node.mapping is not None and ("claim" not in found or len(found) == 1):
        reader.report(node, "gives nobody a role", "write {claim: groups, operator: [sre]}")
    claim = reader.checked(found["claim"], _check_any) if "claim" in found else ""
    return claim, {
        role: frozenset(reader.strings(found[name], _check_any))
        for name, role in _ROLES.items()
        if name in found
    }


def _keys(reader: Reader, node: Node, where: str, folder: Path) -> KeySource:
    url = urlsplit(where)
    if url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK):
        return UrlKeys(where)
    if "://" in where:
        reader.report(node, "is not an https URL", "keys over plain http could be anyone's")
        return UrlKeys("")
    try:
        return FileKeys(folder / where)
    except (OSError, ValueError) as error:
        reader.report(node, f"cannot be used: {error}", "name a file with a JWK set, or an https URL")
        return UrlKeys("")


def _check_any(_text: str) -> Problem | None:
    return None


def _check_algorithm(text: str) -> Problem | None:
    hint = f"known are {', '.join(ALGORITHMS)}; a shared secret (HS256) would let whoever verifies sign"
    return None if text in ALGORITHMS else (f"{text!r} is not allowed", hint)
