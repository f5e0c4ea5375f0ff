"""One YAML document to one `AuthorizationPolicy` of the model: Istio's, or ours with more in it.

What can't be decided by is refused: an ALLOW rule without one of its conditions would allow more than was written.
"""

from collections.abc import Mapping, Sequence

from envoy_authz.config.extension import read_deny_response, read_mode, read_mutation
from envoy_authz.config.rules import read_rules
from envoy_authz.config.strings import check_name, check_namespace
from envoy_authz.core.paths import Normalization
from envoy_authz.core.policy import Action, Policy
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_sidecar.config.strict import Reader

KIND = "AuthorizationPolicy"
API_VERSIONS = ("security.istio.io/v1", "security.istio.io/v1beta1")
OUR_API_VERSION = "envoy-sidecars.dev/v1alpha1"
DRY_RUN = "istio.io/dry-run"


def _later(*keys: str) -> Mapping[str, str]:
    """Return keys that Istio defines and this service does not decide by, each with what to do instead."""
    hint = "remove it, or leave this policy to the mesh: passing it over would change what the policy means"
    return dict.fromkeys(keys, hint)


_DOCUMENT = ("apiVersion", "kind", "metadata", "spec", "status")
# What kubectl writes out beside them says nothing about the decision.
_METADATA = (
    *("name", "namespace", "labels", "annotations", "creationTimestamp", "deletionTimestamp", "finalizers"),
    *("generateName", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"),
)
_SPEC = ("action", "rules", "selector")
_OUR_SPEC = (*_SPEC, "mode", "denyResponse", "allowMutations")
_SPEC_LATER = _later("targetRef", "targetRefs", "provider")
_OURS = dict.fromkeys(("mode", "denyResponse", "allowMutations"), f"it needs apiVersion {OUR_API_VERSION}")


def read_policy(
    document: Node, mode: Normalization = Normalization.BASE
) -> tuple[Policy | None, Sequence[Finding]]:
    """Return the policy of *document* and what was found; the policy is None when any finding is an error.

    *mode* is how paths are normalized before they are compared.
    """
    reader = Reader()
    policy = _policy(document, reader, mode)
    if any(finding.severity == "error" for finding in reader.findings):
        return None, reader.findings
    return policy, reader.findings


def _policy(document: Node, reader: Reader, mode: Normalization) -> Policy | None:
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
    ours = version is not None and version.scalar == OUR_API_VERSION
    if not ours and (version is None or version.scalar not in API_VERSIONS):
        written = f"apiVersion {version.scalar!r} is unknown" if version else "apiVersion is missing"
        reader.report(version or document, written, f"write {' or '.join(API_VERSIONS)}")
    name, namespace, dry_run = _identity(fields.get("metadata"), document, reader)
    spec = fields.get("spec")
    if spec is None:
        reader.report(document, "spec is missing", "write `spec: {}` to allow nothing")
        return None
    later = _SPEC_LATER if ours else {**_SPEC_LATER, **_OURS}
    body = reader.fields(spec, _OUR_SPEC if ours else _SPEC, later)
    action = _action(body.get("action"), reader)
    rules = body.get("rules")
    if rules is None and action is not Action.ALLOW:
        verb = {Action.DENY: "denies", Action.AUDIT: "audits"}[action]
        hint = f"write `rules: [{{}}]` to {action.value.lower()} everything"
        reader.report(spec, f"this {action.value} policy has no rules, and so {verb} nothing", hint)
    return Policy(
        name,
        namespace,
        action,
        read_rules(rules, action, reader, mode, ours=ours),
        selector=_selector(body.get("selector"), reader),
        dry_run=dry_run or read_mode(body.get("mode"), reader),
        deny_response=read_deny_response(body.get("denyResponse"), action, reader),
        mutation=read_mutation(body.get("allowMutations"), action, reader),
    )


def _identity(metadata: Node | None, document: Node, reader: Reader) -> tuple[str, str, bool]:
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
    if dry_run is None:
        return values[0], values[1], False
    written = str(dry_run.scalar).lower()
    if written not in {"true", "false"}:
        reader.report(dry_run, f"{dry_run.scalar!r} is neither true nor false", 'write "true" or "false"')
    return values[0], values[1], written == "true"


def _selector(node: Node | None, reader: Reader) -> Mapping[str, str]:
    if node is None:
        return {}
    labels = reader.fields(node, ("matchLabels",)).get("matchLabels")
    if labels is None or not labels.mapping:
        reader.report(labels or node, "selects no labels", "remove it to apply to every workload")
        return {}
    found = reader.fields(labels, labels.mapping)
    for name, value in found.items():
        if "*" in name or "*" in str(value.scalar):
            reader.report(value, "labels are compared as they are, without `*`", "write the label's value")
    return {name: reader.text(value) for name, value in found.items()}


def _action(node: Node | None, reader: Reader) -> Action:
    if node is None:
        return Action.ALLOW
    text = reader.text(node)
    if text in Action.__members__:
        return Action[text]
    if text == "CUSTOM":
        hint = "this service is what CUSTOM calls; write what it is to decide as ALLOW, DENY or AUDIT"
        reader.report(node, "action CUSTOM is not supported", hint)
    elif isinstance(node.scalar, str):
        reader.report(node, f"unknown action {text!r}", "write ALLOW, DENY or AUDIT")
    return Action.ALLOW
