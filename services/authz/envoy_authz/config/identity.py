"""The file of `--identity` to what it configures, with the files that it names."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from envoy_authz.authenticators.api_keys import ApiKey, ApiKeyAuthenticator
from envoy_authz.authenticators.configured import (
    ApiKeySettings,
    IdentitySettings,
    IntrospectionSettings,
    SvidSettings,
)
from envoy_authz.authenticators.model import HeaderPlace
from envoy_authz.config.policies import OUR_API_VERSION
from envoy_authz.identity.callers import Callers, Peers, Proof
from envoy_authz.identity.spiffe import InvalidSpiffeIdError, parse_spiffe_id, parse_trust_domain
from envoy_authz.tokens.svid import parse_bundle
from envoy_authz.tokens.verify import NEVER
from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Problem, Reader

KIND = "Identity"
MAX_HOPS = 32
MAX_WAIT_MS = 1000

_SPEC = ("peers", "jwtSvid", "apiKeys", "introspection", "dpop", "plugins")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:_]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WAIT = re.compile(r"(\d{1,4})ms")


def load_identity(file: Path) -> IdentitySettings:
    """Read *file*; raises InvalidConfigurationError with all findings. Files that it names are relative to it."""
    found = read_files([file], "identity", without_any="error")
    findings = list(found.findings)
    documents: list[Node] = []
    for path, text in found.texts.items():
        documents.extend(read_documents(text, str(path)))
    if len(documents) != 1 and not findings:
        message = f"{len(documents)} documents are here"
        findings.append(Finding(Position(str(file)), message, f"write one of kind {KIND}"))
    if findings:
        raise InvalidConfigurationError(findings)
    reader = _IdentityReader(file.parent)
    settings = reader.document(documents[0])
    if reader.findings:
        raise InvalidConfigurationError(reader.findings)
    return settings


class _IdentityReader(Reader):
    __slots__ = ("files", "folder", "headers")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.files: list[Path] = []
        self.headers: dict[str, Node] = {}

    def document(self, document: Node) -> IdentitySettings:
        fields = self.fields(document, ("apiVersion", "kind", "metadata", "spec"))
        for key, wanted in (("apiVersion", OUR_API_VERSION), ("kind", KIND)):
            node = fields.get(key)
            if node is None or node.scalar != wanted:
                self.report(node or document, f"{key} is not {wanted}", f"write `{key}: {wanted}`")
        spec = fields.get("spec")
        if spec is None:
            self.report(document, "spec is missing", "write what is known of callers, or leave the file out")
            return IdentitySettings()
        body = self.valued(spec, self.fields(spec, _SPEC))
        return IdentitySettings(
            self._peers(body["peers"]) if "peers" in body else Peers(),
            self._svid(body["jwtSvid"]) if "jwtSvid" in body else None,
            self._api_keys(body["apiKeys"]) if "apiKeys" in body else None,
            self._introspection(body["introspection"]) if "introspection" in body else None,
            self._plugins(body["plugins"]) if "plugins" in body else {},
            self._origin(body["dpop"]) if "dpop" in body else "",
            tuple(self.files),
        )

    def _peers(self, node: Node) -> Peers:
        fields = self.valued(
            node, self.fields(node, ("proof", "trustDomainAliases", "forwardedBy", "trustedHops"))
        )
        proof = self.checked(fields["proof"], _check_proof) if "proof" in fields else Proof.PRINCIPAL.value
        named = fields.get("trustDomainAliases")
        aliases = self.fields(named, tuple(named.mapping or ())) if named is not None else {}
        before = len(self.findings)
        proxies = self.strings(fields.get("forwardedBy"), _check_spiffe_id)
        hops = self.whole(fields["trustedHops"], MAX_HOPS) if "trustedHops" in fields else 1
        if "trustedHops" in fields and (not proxies or not hops):
            hint = "list the SPIFFE IDs of the proxies in `forwardedBy`, and at least one hop"
            self.report(fields["trustedHops"], "no proxy is trusted to forward identities", hint)
        texts = {alias: self.checked(domain, _check_trust_domain) for alias, domain in aliases.items()}
        if len(self.findings) > before:
            return Peers()
        peers = Peers(Proof(proof), texts, frozenset(proxies), hops) if proof in _PROOFS else Peers()
        try:
            Callers(peers)
        except ValueError as error:
            self.report(named or node, str(error), "write `alias: domain`, both in lower case")
        return peers

    def _svid(self, node: Node) -> SvidSettings:
        fields = self._all(node, ("header", "prefix", "audiences", "bundles"), optional=("prefix",))
        bundles: dict[str, str] = {}
        for domain, path in self._mapping(fields.get("bundles")).items():
            problem = _check_trust_domain(domain)
            if problem is not None:
                self.report(path, *problem)
            bundles[domain] = self._bundle(path)
        return SvidSettings(self._place(fields), self.strings(fields.get("audiences"), _anything), bundles)

    def _bundle(self, node: Node) -> str:
        text = self._file(node, "a SPIFFE bundle")
        try:
            if text and not parse_bundle(text).keys:
                self.report(node, "no key in this bundle can be used", "its keys need `use: jwt-svid`")
        except (ValueError, RecursionError):
            self.report(node, "this is no SPIFFE bundle", "name a JWK Set in a file")
        return text

    def _api_keys(self, node: Node) -> ApiKeySettings:
        fields = self._all(node, ("header", "keys"), optional=("header",))
        header = self._header(fields["header"]) if "header" in fields else "x-api-key"
        keys = [self._api_key(item) for item in self.items(fields.get("keys"))]
        if not self.findings:
            try:
                ApiKeyAuthenticator(keys)
            except ValueError as error:
                self.report(node, str(error), "`envoy_authz.authenticators.api_keys.hash_api_key` makes one")
        return ApiKeySettings(header, tuple(keys))

    def _api_key(self, node: Node) -> ApiKey:
        fields = self._all(node, ("name", "sha256", "claims", "expires"), optional=("claims", "expires"))
        claims = fields["claims"].plain() if "claims" in fields else {}
        if not isinstance(claims, dict):
            self.report(fields["claims"], "must be a mapping", "write it as `key: value`")
            claims = {}
        return ApiKey(
            self.checked(fields["name"], _anything) if "name" in fields else "",
            self.checked(fields["sha256"], _check_digest) if "sha256" in fields else "",
            claims,
            self._time(fields["expires"]) if "expires" in fields else NEVER,
        )

    def _time(self, node: Node) -> float:
        try:
            moment = datetime.fromisoformat(node.written)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.report(node, "this is no moment", "write it like 2027-01-31T00:00:00Z")
            return 0.0
        return moment.timestamp()

    def _introspection(self, node: Node) -> IntrospectionSettings:
        needed = ("uri", "clientId", "clientSecretFile", "issuer", "audiences", "header", "prefix", "wait")
        fields = self._all(node, needed, optional=("audiences", "prefix", "wait"))
        secret = self._file(fields["clientSecretFile"], "the secret") if "clientSecretFile" in fields else ""
        wait = self.checked(fields["wait"], _check_wait) if "wait" in fields else "0ms"
        found = _WAIT.fullmatch(wait)
        return IntrospectionSettings(
            self.checked(fields["uri"], _check_uri) if "uri" in fields else "",
            self.checked(fields["clientId"], _anything) if "clientId" in fields else "",
            secret.strip(),
            self.checked(fields["issuer"], _anything) if "issuer" in fields else "",
            self.strings(fields.get("audiences"), _anything),
            self._place(fields),
            int(found[1]) / 1000 if found else 0.0,
        )

    def _origin(self, node: Node) -> str:
        fields = self._all(node, ("origin",), optional=())
        return self.checked(fields["origin"], _check_origin) if "origin" in fields else ""

    def _plugins(self, node: Node) -> Mapping[str, Mapping[str, object]]:
        plugins: dict[str, Mapping[str, object]] = {}
        for name, settings in self._mapping(node).items():
            plain = settings.plain()
            if isinstance(plain, dict):
                plugins[name] = plain
            else:
                self.report(settings, f"must be a mapping, is {settings.kind}", "write it as `key: value`")
        return plugins

    def _all(self, node: Node, known: tuple[str, ...], *, optional: tuple[str, ...]) -> dict[str, Node]:
        fields = self.valued(node, self.fields(node, known))
        for key in known:
            if key not in fields and key not in optional and node.mapping is not None:
                self.report(
                    node, f"{key} is missing", f"needed here: {', '.join(set(known) - set(optional))}"
                )
        return fields

    def _mapping(self, node: Node | None) -> dict[str, Node]:
        return {} if node is None else self.fields(node, tuple(node.mapping or ()))

    def _place(self, fields: Mapping[str, Node]) -> HeaderPlace:
        prefix = self.text(fields["prefix"]) if "prefix" in fields else ""
        return HeaderPlace(self._header(fields["header"]) if "header" in fields else "", prefix)

    def _header(self, node: Node) -> str:
        name = self.checked(node, _check_header).lower()
        first = self.headers.setdefault(name, node)
        if first is not node:
            self.report(node, f"the header {name!r} is used at {first.position}", "give each its own header")
        return name

    def _file(self, node: Node, what: str) -> str:
        path = self.folder / self.checked(node, _anything)
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self.report(node, f"the file can't be read: {why}", f"name a file that holds {what}")
            return ""
        self.files.append(path)
        return text


_PROOFS = frozenset(proof.value for proof in Proof)


def _anything(_text: str) -> Problem | None:
    return None


def _check(test: Callable[[str], object]) -> Callable[[str], str]:
    def problem(text: str) -> str:
        try:
            test(text)
        except InvalidSpiffeIdError as error:
            return str(error)
        return ""

    return problem


_spiffe_problem = _check(parse_spiffe_id)
_domain_problem = _check(parse_trust_domain)


def _check_spiffe_id(text: str) -> Problem | None:
    problem = _spiffe_problem(text)
    return (f"no SPIFFE ID: {problem}", "write spiffe://domain/path") if problem else None


def _check_trust_domain(text: str) -> Problem | None:
    problem = _domain_problem(text)
    return (problem, "write it like cluster.local") if problem else None


def _check_proof(text: str) -> Problem | None:
    return None if text in _PROOFS else (f"{text!r} is unknown", f"write {' or '.join(sorted(_PROOFS))}")


def _check_header(text: str) -> Problem | None:
    return None if _HEADER.fullmatch(text) else (f"{text!r} is no header name", "write one like x-api-key")


def _check_digest(text: str) -> Problem | None:
    if _DIGEST.fullmatch(text):
        return None
    return "this is no SHA-256 in hexadecimal", "write the hash of the key, and never the key"


def _check_wait(text: str) -> Problem | None:
    found = _WAIT.fullmatch(text)
    if found and int(found[1]) <= MAX_WAIT_MS:
        return None
    return f"{text!r} is no time up to {MAX_WAIT_MS}ms", "write it like 50ms"


def _check_origin(text: str) -> Problem | None:
    if _ORIGIN.fullmatch(text):
        return None
    return f"{text!r} is no origin", "write scheme and authority, such as https://shop.example"


def _check_uri(text: str) -> Problem | None:
    if text.startswith("https://"):
        return None
    return "tokens would go out in clear text", "write https://…"
