"""Which workload a request is for, as far as the request tells: the same places that policies go by."""

from collections.abc import Mapping

from envoy_authz.core.applicability import LABEL, NAMESPACE
from envoy_authz.core.request import RequestView
from envoy_authz.core.workload import workload_of

Workload = tuple[str, Mapping[str, str] | None]
"""A namespace, empty if unknown, and labels, None if unknown."""


def workload_of_request(request: RequestView) -> Workload:
    """Return the workload of *request*: by `context_extensions`, else by Envoy's own certificate and node labels."""
    context, labels = request.context, request.destination_labels
    if not context and not labels:
        return workload_of(request.destination_principal).namespace, None
    namespace = context.get(NAMESPACE) or workload_of(request.destination_principal).namespace
    written = {name[len(LABEL) :]: value for name, value in context.items() if name.startswith(LABEL)}
    return namespace, {**labels, **written} if labels or written else None
