"""The decision log read back: requests as far as they were written down, and what of each is not known."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.asked import Asked, token_of
from envoy_authz.commands.boxes import dimension_of
from envoy_authz.core.authentication import Authentication, VerifiedToken
from envoy_authz.core.decision import Reason
from envoy_authz.core.request import Request
from envoy_authz.decision_log.masks import MASK
from envoy_sidecar.settings import SettingsError

_CUTS = frozenset({256, 2048})
"""Where the log cuts texts."""
_MANY = 16
_MORE = (dim.HEADER, dim.CLAIM, dim.JSON, dim.FORM)
# What was not decided by policies would not be by others either.
_NOT_POLICY = frozenset(
    {Reason.UNAUTHENTICATED, Reason.MALFORMED_REQUEST, Reason.TOO_LARGE, Reason.INTERNAL_ERROR}
)


@dataclass(frozen=True, slots=True)
class Logged:
    """A decision in the log: `asked` has what was written of the request.

    `unknown` are dimensions that were masked or cut, and `known` those that `--log-attribute` adds: without it
    nothing tells headers, bodies and claims.
    """

    id: str
    allowed: bool
    policy: str
    rule: int | None
    asked: Asked
    unknown: frozenset[str]
    known: frozenset[str] = frozenset()


@dataclass(slots=True)
class Unread:
    """Lines that hold no decision of policies: `broken` can't be read, `other` were refused before policies."""

    broken: int = 0
    other: int = 0


def read_log(
    paths: tuple[Path, ...], unread: Unread, issuers: frozenset[str] = frozenset()
) -> Iterator[Logged]:
    """Yield the decisions in files, a JSON object a line, and count in *unread* what is none.

    *issuers* tell where in a token's principal the subject begins. What was verified is taken as of any audience.
    Raises SettingsError for a file that can't be read.
    """
    for path in paths:
        try:
            with path.open("rb") as file:
                for line in file:
                    logged = _logged(line, unread, issuers) if line.strip() else None
                    if logged is not None:
                        yield logged
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror or error}") from None


def _logged(line: bytes, unread: Unread, issuers: frozenset[str]) -> Logged | None:
    try:
        data = json.loads(line)
        if data["reason"] in _NOT_POLICY:
            unread.other += 1
            return None
        return _read(data, issuers)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        unread.broken += 1
        return None


def _read(data: Mapping[str, Any], issuers: frozenset[str]) -> Logged:
    http, source = data["request"], data["source"]
    workload, destination = data.get("workload", {}), data.get("destination", {})
    labels = workload.get("labels", {})
    texts: dict[str, str] = {
        dim.METHOD: http["method"],
        dim.PATH: http["path"].partition("?")[0],
        dim.HOST: http["host"],
        dim.PRINCIPAL: source["principal"],
        dim.ADDRESS: source["address"],
        dim.SNI: destination.get("sni", ""),
        dim.TOKEN: " ".join(data.get("tokens", ())),
        **{dim.LABEL + name: value for name, value in labels.items()},
    }
    if not all(isinstance(text, str) for text in texts.values()) or data["decision"] not in {"allow", "deny"}:
        raise ValueError("a field is no text")
    context = {f"labels.{name}": value for name, value in labels.items()}
    if workload.get("namespace"):
        context["namespace"] = workload["namespace"]
    request = Request(
        texts[dim.METHOD],
        http["path"],
        source_principal=texts[dim.PRINCIPAL],
        host=texts[dim.HOST],
        source_address=texts[dim.ADDRESS],
        destination_port=int(destination.get("port", 0)),
        sni=texts[dim.SNI],
        context=context,
    )
    asked = Asked(
        request, Authentication(tokens=tuple(_token(one, issuers) for one in data.get("tokens", ())))
    )
    attributes = {
        key: tuple(map(str, values))
        for key, values in data.get("attributes", {}).items()
        if dimension_of(key, 0).startswith(_MORE)
    }
    for key, values in attributes.items():
        asked = _put(asked, key, values)
        texts[dimension_of(key, 0)] = " ".join(values)
    unknown = {name for name, text in texts.items() if MASK in text or len(text) in _CUTS}
    return Logged(
        str(data["id"]),
        data["decision"] == "allow",
        str(data["policy"]),
        data["rule"],
        asked,
        frozenset(unknown),
        frozenset(dimension_of(key, 0) for key, values in attributes.items() if _tells(key, values)),
    )


def _put(asked: Asked, key: str, values: tuple[str, ...]) -> Asked:
    name = dimension_of(key, 0)
    if name.startswith(dim.HEADER):
        return dim.put(asked, name, values[0] if values else None)
    return dim.put(asked, name, values if len(values) > 1 else values[0] if values else None)


def _tells(key: str, values: tuple[str, ...]) -> bool:
    """Whether an attribute is known: of a body, nothing is what a body that can't be read has too."""
    return len(values) < _MANY and (bool(values) or not key.startswith("request.body"))


def _token(principal: str, issuers: frozenset[str]) -> VerifiedToken:
    known = max((one for one in issuers if principal.startswith(f"{one}/")), key=len, default="")
    issuer = known or principal.rpartition("/")[0]
    return token_of({"iss": issuer, "sub": principal[len(issuer) + 1 :]})
