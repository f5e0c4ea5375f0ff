"""One YAML document to one `RequestAuthentication` of the model, with its keys where they are in it or in a file."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from envoy_authz.authenticators.model import DEFAULT_TIMEOUT_S, HeaderPlace, JwtRule, RequestAuthentication
from envoy_authz.config.strings import check_name, check_namespace
from envoy_authz.tokens.algorithms import ALL
from envoy_authz.tokens.keys import parse_jwks
from envoy_authz.tokens.verify import DEFAULT_SKEW_S
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_sidecar.config.strict import Problem, Reader

KIND = "RequestAuthentication"
ISTIO_VERSIONS = ("security.istio.io/v1", "security.istio.io/v1beta1")
FILE = "file://"
MAX_TIMEOUT_S = 60.0
MAX_SKEW_S = 600.0

_DOCUMENT = ("apiVersion", "kind", "metadata", "spec", "status")
_METADATA = (
    *("name", "namespace", "labels", "annotations", "creationTimestamp", "deletionTimestamp", "finalizers"),
    *("generateName", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"),
)
_TARGETS = dict.fromkeys(
    ("targetRef", "targetRefs"),
    "use `selector`, or leave this document to the mesh: it means one gateway there",
)
_RULE = (
    *("issuer", "audiences", "jwks", "jwksUri", "fromHeaders", "fromParams", "fromCookies", "timeout"),
    *("outputPayloadToHeader", "outputClaimToHeaders", "forwardOriginalToken"),
)
_OURS = ("algorithms", "types", "requireExpiry", "clockSkew")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"[\x21-\x7e]+")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)(ms|s|m|h)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# Envoy can't set them, or they decide how the request itself is read.
_RESERVED = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "cookie"}
)


def read_request_authentication(
    document: Node, own_versions: Sequence[str] = ()
) -> tuple[RequestAuthentication | None, Sequence[Finding]]:
    """Return what *document* says and what was found; the first is None when any finding is an error.

    In documents of *own_versions* (our superset's `apiVersion`) a rule may also have `algorithms`, `types`,
    `requireExpiry` and `clockSkew`. Keys in a file (`jwksUri: file:///…`) are read now.
    """
    reader = Reader()
    model = _document(document, reader, own_versions)
    if any(finding.severity == "error" for finding in reader.findings):
        return None, reader.findings
    return model, reader.findings


def _document(document: Node, reader: Reader, own_versions: Sequence[str]) -> RequestAuthentication | None:
    fields = reader.fields(document, _DOCUMENT)
    if document.mapping is None:
        return None
    kind, version = fields.get("kind"), fields.get("apiVersion")
    if kind is None or kind.scalar != KIND:
        reader.report(kind or document, f"is no {KIND}", f"write `kind: {KIND}`")
        return None
    versions = (*ISTIO_VERSIONS, *own_versions)
    if version is None or version.scalar not in versions:
        written = f"apiVersion {version.scalar!r} is unknown" if version else "apiVersion is missing"
        reader.report(version or document, written, f"write {' or '.join(versions)}")
    own = version is not None and version.scalar in own_versions
    name, namespace = _identity(fields.get("metadata"), document, reader)
    spec = fields.get("spec")
    if spec is None:
        reader.report(document, "spec is missing", "write `spec` with `jwtRules`")
        return None
    body = reader.fields(spec, ("selector", "jwtRules"), _TARGETS)
    rules = body.get("jwtRules")
    if rules is None or rules.sequence == ():
        reader.warn(spec, "there are no jwtRules, so no token is ever verified", "write at least one")
    files: list[Path] = []
    read = tuple(_rule(one, reader, files, own=own) for one in reader.items(rules))
    return RequestAuthentication(name, namespace, _labels(body.get("selector"), reader), read, tuple(files))


def _identity(metadata: Node | None, document: Node, reader: Reader) -> tuple[str, str]:
    fields = reader.fields(metadata, _METADATA) if metadata is not None else {}
    if "name" not in fields:
        reader.report(metadata or document, "metadata.name is missing", "findings and logs name the document")
    name, namespace = (
        reader.checked(node, check) if (node := fields.get(key)) is not None else ""
        for key, check in (("name", check_name), ("namespace", check_namespace))
    )
    return name, namespace


def _labels(selector: Node | None, reader: Reader) -> tuple[tuple[str, str], ...]:
    if selector is None:
        return ()
    labels = reader.fields(selector, ("matchLabels",)).get("matchLabels")
    if labels is None:
        return ()
    known = reader.fields(labels, tuple(labels.mapping or ()))
    return tuple((name, reader.text(value)) for name, value in known.items())


def _rule(node: Node, reader: Reader, files: list[Path], *, own: bool) -> JwtRule:
    later = {} if own else dict.fromkeys(_OURS, "it is ours: write our apiVersion for it")
    fields = reader.valued(node, reader.fields(node, (*_RULE, *_OURS) if own else _RULE, later))

    def one(key: str, check: Callable[[str], Problem | None]) -> str:
        return reader.checked(fields[key], check) if key in fields else ""

    if "issuer" not in fields:
        reader.report(node, "issuer is missing", "write the `iss` that its tokens have")
    issuer = one("issuer", _no_problem)
    jwks, uri = _keys(node, fields, issuer, reader, files)
    rule = JwtRule(
        issuer=issuer,
        audiences=reader.strings(fields.get("audiences"), _no_problem),
        jwks=jwks,
        jwks_uri=uri,
        from_headers=_from_headers(fields.get("fromHeaders"), reader),
        from_params=reader.strings(fields.get("fromParams"), _check_parameter),
        from_cookies=reader.strings(fields.get("fromCookies"), _check_cookie),
        output_payload_to_header=one("outputPayloadToHeader", _check_output).lower(),
        output_claim_to_headers=_claim_headers(fields.get("outputClaimToHeaders"), reader),
        forward_original_token=reader.flag(fields.get("forwardOriginalToken")),
        timeout_s=_duration(fields.get("timeout"), DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S, reader),
        algorithms=frozenset(reader.strings(fields.get("algorithms"), _check_algorithm)) or ALL,
        types=frozenset(
            text.lower().removeprefix("application/")
            for text in reader.strings(fields.get("types"), _check_type)
        ),
        require_expiry=reader.flag(fields.get("requireExpiry")),
        skew_s=_duration(fields.get("clockSkew"), DEFAULT_SKEW_S, MAX_SKEW_S, reader),
    )
    for header in sorted({name for name in rule.output_headers if rule.output_headers.count(name) > 1}):
        reader.report(node, f"two outputs go to the header {header!r}", "give each its own header")
    return rule


def _keys(
    node: Node, fields: dict[str, Node], issuer: str, reader: Reader, files: list[Path]
) -> tuple[str, str]:
    """Return the text of a key set, or else the address of one; both are empty when discovery finds it."""
    inline, address = fields.get("jwks"), fields.get("jwksUri")
    if inline is not None:
        if address is not None:
            reader.report(address, "both jwks and jwksUri are given", "keep one of them")
        return _key_set(inline, reader.text(inline), reader), ""
    if address is None:
        if not issuer.startswith(("https://", "http://")):
            reader.report(
                node, "there are no keys, and the issuer has no address to ask", "write `jwksUri` or `jwks`"
            )
        elif issuer.startswith("http://"):
            _warn_plain(fields["issuer"], reader)
        return "", ""
    uri = reader.checked(address, _check_uri)
    if uri.startswith(f"{FILE}/"):
        path = Path(uri.removeprefix(FILE))
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            reader.report(address, f"the keys can't be read: {what}", "name a file that holds a JWK Set")
            return "", ""
        files.append(path)
        return _key_set(address, text, reader), ""
    if uri.startswith("http://"):
        _warn_plain(address, reader)
    return "", uri


def _key_set(node: Node, text: str, reader: Reader) -> str:
    try:
        keys = parse_jwks(text)
    except (ValueError, RecursionError):
        reader.report(node, "this is no JWK Set", 'write {"keys": [...]} with public keys (RFC 7517)')
        return ""
    for skipped in keys.skipped:
        reader.warn(node, f"{skipped}; it is not used", "remove the key, or replace it")
    if not keys.keys:
        reader.report(node, "no key in this JWK Set can be used", "add a public key that signs tokens")
    return text


def _warn_plain(node: Node, reader: Reader) -> None:
    reader.warn(node, "keys by plain http: whoever is on the way can sign tokens", "write https://")


def _from_headers(node: Node | None, reader: Reader) -> tuple[HeaderPlace, ...]:
    places = []
    for item in reader.items(node):
        fields = reader.fields(item, ("name", "prefix"))
        prefix = reader.text(fields["prefix"]) if "prefix" in fields else ""
        if "name" not in fields:
            reader.report(item, "name is missing", "write the header's name")
            continue
        places.append(HeaderPlace(reader.checked(fields["name"], _check_header).lower(), prefix))
    return tuple(places)


def _claim_headers(node: Node | None, reader: Reader) -> tuple[tuple[str, str], ...]:
    pairs = []
    for item in reader.items(node):
        fields = reader.fields(item, ("header", "claim"))
        missing = [key for key in ("header", "claim") if key not in fields]
        if missing:
            reader.report(item, f"{missing[0]} is missing", "write `header` and `claim`")
            continue
        header = reader.checked(fields["header"], _check_output).lower()
        pairs.append((header, reader.checked(fields["claim"], _no_problem)))
    return tuple(pairs)


def _duration(node: Node | None, default_s: float, most_s: float, reader: Reader) -> float:
    if node is None:
        return default_s
    found = _DURATION.fullmatch(reader.text(node))
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else -1.0
    if not 0 <= seconds <= most_s:
        reader.report(
            node, f"{node.written!r} is no duration up to {most_s:g} s", "write it like 5s or 500ms"
        )
        return default_s
    return seconds


def _no_problem(_text: str) -> Problem | None:
    return None


def _check_header(text: str) -> Problem | None:
    return (
        None if _TOKEN.fullmatch(text) else (f"{text!r} is no header name", "write a name like authorization")
    )


def _check_output(text: str) -> Problem | None:
    if text.lower() in _RESERVED:
        return f"the header {text!r} can't be used for this", "write a header of your own, such as x-jwt-sub"
    return _check_header(text)


def _check_parameter(text: str) -> Problem | None:
    if _UNRESERVED.fullmatch(text):
        return None
    return (
        f"{text!r} is no name of a query parameter that needs no encoding",
        "use letters, digits and `-._~`",
    )


def _check_cookie(text: str) -> Problem | None:
    return None if _TOKEN.fullmatch(text) else (f"{text!r} can't be the name of a cookie", "write its name")


def _check_algorithm(text: str) -> Problem | None:
    return None if text in ALL else (f"{text!r} is not supported", f"write any of {', '.join(sorted(ALL))}")


def _check_type(text: str) -> Problem | None:
    return None if _PLAIN.fullmatch(text) else (f"{text!r} is no type", "write a media type, such as at+jwt")


def _check_uri(text: str) -> Problem | None:
    if _PLAIN.fullmatch(text) and text.startswith(("https://", "http://", f"{FILE}/")):
        return None
    return f"{text!r} is no address of keys", "write https://…, or file:///… for a file"
