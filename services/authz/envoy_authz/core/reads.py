"""Which attributes of a request a rule asks for, by their names in `when` and in CEL."""

from dataclasses import fields

from envoy_authz.core.expressions import used_variables
from envoy_authz.core.policy import Operation, Rule, Source

_SOURCE = {
    "principals": "source.principal",
    "request_principals": "request.auth.principal",
    "namespaces": "source.namespace",
    "service_accounts": "source.serviceAccount",
    "trust_domains": "source.trustDomain",
    "ip_blocks": "source.ip",
    "remote_ip_blocks": "remote.ip",
}
_OPERATION = {
    "methods": "request.method",
    "paths": "request.path",
    "hosts": "request.host",
    "ports": "destination.port",
    "grpc_methods": "request.path",
}


def attributes_read(rule: Rule) -> tuple[str, ...]:
    """Return the names of what *rule* compares, each once, in the order of its parts."""
    found: dict[str, None] = {}
    for parts, names in ((rule.sources, _SOURCE), (rule.operations, _OPERATION)):
        for part in parts:
            found.update(dict.fromkeys(names[name] for name in _given(part)))
    found.update(dict.fromkeys(condition.key for condition in rule.when))
    for text in rule.expressions:
        found.update(dict.fromkeys(used_variables(text)))
    return tuple(found)


def _given(part: Source | Operation) -> list[str]:
    return [field.name.removeprefix("not_") for field in fields(part) if getattr(part, field.name)]
