"""One YAML document to one `AuthorizationPolicy` of the model.

What Istio defines and this service does not decide by yet is refused: an ALLOW rule without one of its conditions
would allow more than was written.
"""

from collections.abc import Mapping, Sequence

from envoy_authz.config.strings import (
    check_method,
    check_name,
    check_namespace,
    check_path,
    check_principal,
)
from envoy_authz.core.policy import Action, Operation, Policy, Rule, Source
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_sidecar.config.strict import Reader

KIND = "AuthorizationPolicy"
API_VERSIONS = ("security.istio.io/v1", "security.istio.io/v1beta1")
DRY_RUN = "istio.io/dry-run"


def _later(*keys: str) -> Mapping[str, str]:
    """Return keys that Istio defines and this service does not decide by yet, each with what to do instead."""
    hint = "remove it, or leave this policy to the mesh: passing it over would change what the policy means"
    return dict.fromkeys(keys, hint)


_DOCUMENT = ("apiVersion", "kind", "metadata", "spec", "status")
# What kubectl writes out beside them says nothing about the decision.
_METADATA = (
    *("name", "namespace", "labels", "annotations", "creationTimestamp", "deletionTimestamp", "finalizers"),
    *("generateName", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"),
)
_SPEC = ("action", "rules")
_SPEC_LATER = _later("selector", "targetRef", "targetRefs", "provider")
_RULE = ("from", "to")
_RULE_LATER = _later("when")
_SOURCE = ("principals", "notPrincipals")
_SOURCE_LATER = _later(
    *("requestPrincipals", "notRequestPrincipals", "namespaces", "notNamespaces"),
    *("serviceAccounts", "notServiceAccounts", "trustDomains", "notTrustDomains"),
    *("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"),
)
_OPERATION = ("methods", "notMethods", "paths", "notPaths")
_OPERATION_LATER = _later("hosts", "notHosts", "ports", "notPorts")
_ACTIONS_LATER = ("AUDIT", "CUSTOM")


def read_policy(document: Node) -> tuple[Policy | None, Sequence[Finding]]:
    """Return the policy of *document* and what was found; the policy is None when any finding is an error."""
    reader = Reader()
    policy = _policy(document, reader)
    if any(finding.severity == "error" for finding in reader.findings):
        return None, reader.findings
    return policy, reader.findings


def _policy(document: Node, reader: Reader) -> Policy | None:
    kind = document.get("kind")
    if document.mapping is not None and (kind is None or kind.scalar != KIND):
        # What this is we don't know, so to judge its other fields would only bury the finding that matters.
        written = (
            "has no kind" if kind is None or kind.scalar is None else f"kind {kind.scalar!r} is not supported"
        )
        reader.report(kind or document, written, f"this service reads kind {KIND}")
        return None
    fields = reader.fields(document, _DOCUMENT)
    if document.mapping is None:
        return None
    version = fields.get("apiVersion")
    if version is None or version.scalar not in API_VERSIONS:
        written = f"apiVersion {version.scalar!r} is unknown" if version else "apiVersion is missing"
        reader.report(version or document, written, f"write {' or '.join(API_VERSIONS)}")
    name, namespace = _identity(fields.get("metadata"), document, reader)
    spec = fields.get("spec")
    if spec is None:
        reader.report(document, "spec is missing", "write `spec: {}` to allow nothing")
        return None
    body = reader.fields(spec, _SPEC, _SPEC_LATER)
    action = _action(body.get("action"), reader)
    rules = body.get("rules")
    if rules is None and action is Action.DENY:
        reader.report(
            spec, "a DENY policy without rules denies nothing", "write `rules: [{}]` to deny everything"
        )
    return Policy(name, namespace, action, _rules(rules, action, reader))


def _identity(metadata: Node | None, document: Node, reader: Reader) -> tuple[str, str]:
    fields = reader.fields(metadata, _METADATA) if metadata is not None else {}
    values = []
    for key, check in (("name", check_name), ("namespace", check_namespace)):
        node = fields.get(key)
        values.append(reader.checked(node, check) if node is not None else "")
    if "name" not in fields:
        reader.report(
            metadata or document, "metadata.name is missing", "denials name the policy that decided"
        )
    annotations = fields.get("annotations")
    dry_run = reader.fields(annotations, annotations.mapping or ()).get(DRY_RUN) if annotations else None
    if dry_run is not None and str(dry_run.scalar).lower() != "false":
        reader.report(dry_run, "a dry run is not supported yet", "remove the policy: it would be enforced")
    return values[0], values[1]


def _action(node: Node | None, reader: Reader) -> Action:
    if node is None:
        return Action.ALLOW
    text = reader.text(node)
    if text in Action.__members__:
        return Action[text]
    if text in _ACTIONS_LATER:
        reader.report(node, f"action {text} is not supported yet", "this service decides by ALLOW and DENY")
    elif isinstance(node.scalar, str):
        reader.report(node, f"unknown action {text!r}", "write ALLOW or DENY")
    return Action.ALLOW


def _rules(node: Node | None, action: Action, reader: Reader) -> tuple[Rule, ...]:
    if node is None:
        return ()
    hint = "remove `rules` to match nothing, or write `rules: [{}]` to match everything"
    rules = []
    for item in reader.some_items(node, hint):
        fields = reader.fields(item, _RULE, _RULE_LATER)
        rules.append(
            Rule(
                tuple(_source(one, reader) for one in _members(fields.get("from"), "source", reader)),
                tuple(_operation(one, reader) for one in _members(fields.get("to"), "operation", reader)),
            )
        )
        if action is Action.DENY and item.mapping == {}:
            message = "this rule denies every request"
            finding = Finding(item.position, message, "say which in `from` or `to`", item.path, "warning")
            reader.findings.append(finding)
    return tuple(rules)


def _members(node: Node | None, key: str, reader: Reader) -> list[Node]:
    """Return the `source` of each entry of `from`, or the `operation` of each of `to`."""
    if node is None:
        return []
    members = []
    for item in reader.some_items(node, "remove it to match any"):
        member = reader.fields(item, (key,)).get(key)
        if member is not None:
            members.append(member)
        if (item.mapping == {}) or (member is not None and member.mapping == {}):
            reader.report(member or item, f"says nothing about the {key}", "remove it to match any")
    return members


def _source(node: Node, reader: Reader) -> Source:
    fields = reader.fields(node, _SOURCE, _SOURCE_LATER)
    return Source(
        principals=reader.strings(fields.get("principals"), check_principal),
        not_principals=reader.strings(fields.get("notPrincipals"), check_principal),
    )


def _operation(node: Node, reader: Reader) -> Operation:
    fields = reader.fields(node, _OPERATION, _OPERATION_LATER)
    return Operation(
        methods=reader.strings(fields.get("methods"), check_method),
        not_methods=reader.strings(fields.get("notMethods"), check_method),
        paths=reader.strings(fields.get("paths"), check_path),
        not_paths=reader.strings(fields.get("notPaths"), check_path),
    )
