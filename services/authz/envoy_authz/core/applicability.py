"""Which workloads a policy applies to: its namespace and its selector against what is known of the request's workload.

The namespace is what the operator gives as `namespace` in `context_extensions`, else the one in the SPIFFE identity
of Envoy's own certificate. The labels are `labels.<name>` in `context_extensions`, else those of Envoy's node. When
neither is known, an ALLOW policy that asks for it matches nothing, and a DENY policy that does applies.
"""

from collections.abc import Mapping

from envoy_authz.core.checks import Named, on
from envoy_authz.core.facts import Facts
from envoy_authz.core.policy import Policy
from envoy_authz.core.request import RequestView
from envoy_authz.core.workload import workload_of

NAMESPACE = "namespace"
LABEL = "labels."


def namespace_of(request: RequestView, only: str) -> str:
    """Return the namespace of the workload that *request* is for; *only* is the one there is, if there is but one."""
    return request.context.get(NAMESPACE) or workload_of(request.destination_principal).namespace or only


def applies(
    policy: Policy, root_namespace: str, *, careful: bool
) -> tuple[Mapping[str, frozenset[str]], tuple[Named, ...]]:
    """Return the only namespaces of a policy, as the keys of an index, and the tests whether it applies."""
    keys: dict[str, frozenset[str]] = {}
    tests: list[Named] = []
    if policy.namespace not in {"", root_namespace}:
        keys["namespace"] = frozenset({policy.namespace} if careful else {policy.namespace, ""})
        tests.append(Named("namespace", on("namespace", keys["namespace"].__contains__)))
    if policy.selector:
        wanted = dict(policy.selector)

        def selected(facts: Facts) -> bool:
            return has_labels(facts.request, wanted, unknown=not careful)

        tests.append(Named("", selected))
    return keys, tuple(tests)


def has_labels(request: RequestView, wanted: Mapping[str, str], *, unknown: bool) -> bool:
    """Whether the workload has all labels *wanted*; *unknown* if nothing tells its labels."""
    context, labels = request.context, request.destination_labels
    if not labels and not any(name.startswith(LABEL) for name in context):
        return unknown
    return all(context.get(LABEL + name, labels.get(name)) == value for name, value in wanted.items())
