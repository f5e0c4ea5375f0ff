"""`PolicyTest` documents: requests, and what is expected of the decision on each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envoy_authz.commands.asked import Asked, spiffe, token_of
from envoy_authz.config.policies import OUR_API_VERSION
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.decision import Reason
from envoy_authz.core.request import Request
from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Reader

KIND = "PolicyTest"
_MAX_PORT = 65535
_MAX_RULES = 1_000_000
_REQUEST = (
    *("method", "path", "host", "scheme", "headers", "body", "json", "port", "sni", "namespace", "labels"),
    *("address", "principal"),
)
_IDENTITY = ("principal", "address", "claims", "tokens")
_EXPECT = ("decision", "policy", "rule", "reason", "status", "mutations")
_MUTATIONS = ("setHeaders", "removeHeaders", "setQuery", "removeQuery", "metadata")


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected; None is not looked at."""

    allowed: bool
    policy: str | None = None
    rule: int | None = None
    reason: str | None = None
    status: int | None = None
    mutations: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One case, and where it stands."""

    name: str
    position: Position
    asked: Asked
    expected: Expected


def load_cases(paths: Sequence[Path]) -> tuple[list[Case], list[Path]]:
    """Return the cases of all files that *paths* name, and the files.

    Raises InvalidConfigurationError with the findings of all files when there is any.
    """
    found = read_files(paths, "test", without_any="error")
    reader = Reader()
    reader.findings.extend(found.findings)
    cases: list[Case] = []
    for file, text in found.texts.items():
        try:
            documents = read_documents(text, str(file))
        except InvalidConfigurationError as error:
            reader.findings.extend(error.findings)
            continue
        for document in documents:
            cases.extend(_document(document, reader))
    if reader.findings:
        raise InvalidConfigurationError(reader.findings)
    return cases, list(found.texts)


def _document(node: Node, reader: Reader) -> list[Case]:
    kind = node.get("kind")
    if node.mapping is not None and (kind is None or kind.scalar != KIND):
        reader.report(
            kind or node, f"is no {KIND}", f"write `kind: {KIND}`; policies belong in their own folder"
        )
        return []
    fields = reader.fields(node, ("apiVersion", "kind", "metadata", "cases"))
    version = fields.get("apiVersion")
    if version is None or version.scalar != OUR_API_VERSION:
        reader.report(version or node, "has not the apiVersion of tests", f"write {OUR_API_VERSION}")
    if "cases" not in fields:
        reader.report(node, "has no cases", "write at least one")
        return []
    return [_case(item, reader) for item in reader.some_items(fields["cases"], "write at least one")]


def _case(node: Node, reader: Reader) -> Case:
    fields = reader.fields(node, ("name", "request", "identity", "expect"))
    for key in ("request", "expect"):
        if key not in fields and node.mapping is not None:
            reader.report(node, f"has no {key}", f"write `{key}`")
    name = reader.text(fields["name"]) if "name" in fields else node.path
    request = fields.get("request")
    identity = fields.get("identity")
    asked = _asked(request, identity, reader)
    expected = _expected(fields["expect"], reader) if "expect" in fields else Expected(allowed=False)
    return Case(name, node.position, asked, expected)


def _asked(request: Node | None, identity: Node | None, reader: Reader) -> Asked:
    known = reader.fields(request, _REQUEST) if request is not None else {}
    who = reader.fields(identity, _IDENTITY) if identity is not None else {}

    def text(key: str, default: str = "") -> str:
        return reader.text(known[key]) if key in known else default

    body = text("body").encode()
    headers = {name.lower(): value for name, value in _texts(known.get("headers"), reader).items()}
    if "json" in known:
        if "body" in known:
            reader.report(known["json"], "stands beside body", "keep one of them")
        body = json.dumps(known["json"].plain()).encode()
        headers.setdefault("content-type", "application/json")
    context = {f"labels.{name}": value for name, value in _texts(known.get("labels"), reader).items()}
    if "namespace" in known:
        context["namespace"] = text("namespace")
    principal, address = who.get("principal"), who.get("address")
    for key in ("principal", "address"):
        if key in known:
            reader.report(known[key], f"{key} is of the caller", "write it below `identity`")
    made = Request(
        method=text("method", "GET"),
        path=text("path", "/"),
        host=text("host"),
        scheme=text("scheme", "https"),
        body=body,
        source_principal=spiffe(reader.text(principal)) if principal is not None else "",
        source_address=reader.text(address) if address is not None else "",
        destination_port=reader.whole(known["port"], _MAX_PORT) if "port" in known else 0,
        sni=text("sni"),
        context=context,
        request_headers=headers,
    )
    return Asked(made, Authentication(tokens=tuple(map(token_of, _claims(who, reader)))))


def _claims(who: Mapping[str, Node], reader: Reader) -> list[dict[str, Any]]:
    nodes = [who["claims"]] if "claims" in who else []
    if "tokens" in who:
        nodes.extend(reader.some_items(who["tokens"], "remove it for a caller without a token"))
    found: list[dict[str, Any]] = []
    for node in nodes:
        plain = node.plain()
        if isinstance(plain, dict):
            found.append(plain)
        else:
            reader.report(node, f"must be a mapping, is {node.kind}", "write the claims of a verified token")
    return found


def _texts(node: Node | None, reader: Reader) -> dict[str, str]:
    if node is None:
        return {}
    return {name: reader.text(value) for name, value in reader.fields(node, node.mapping or ()).items()}


def _expected(node: Node, reader: Reader) -> Expected:
    fields = reader.fields(node, _EXPECT)
    decision = fields.get("decision")
    if decision is None or decision.scalar not in {"allow", "deny"}:
        reader.report(decision or node, "expects no decision", "write `decision: allow` or `decision: deny`")
    reason = fields.get("reason")
    if reason is not None and reason.scalar not in set(Reason):
        reader.report(reason, f"{reason.written!r} is no reason", f"write one of {', '.join(Reason)}")
    return Expected(
        allowed=decision is not None and decision.scalar == "allow",
        policy=reader.text(fields["policy"]) if "policy" in fields else None,
        rule=reader.whole(fields["rule"], _MAX_RULES) if "rule" in fields else None,
        reason=reader.text(reason) if reason is not None else None,
        status=reader.whole(fields["status"], 599) if "status" in fields else None,
        mutations=_mutations(fields["mutations"], reader) if "mutations" in fields else {},
    )


def _mutations(node: Node, reader: Reader) -> dict[str, object]:
    fields = reader.fields(node, _MUTATIONS)
    found: dict[str, object] = {}
    for key, value in fields.items():
        if key == "metadata":
            found[key] = value.plain()
        elif key.startswith("set"):
            found[key] = _texts(value, reader)
        else:
            found[key] = [reader.text(item) for item in reader.items(value)]
    return found
