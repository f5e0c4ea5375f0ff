"""Policies as Istio writes them into Envoy's own `rbac` filter, the independent implementation to compare with."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from envoy_authz.core import Action, Condition, Operation, Policy, Rule, Source

Json = dict[str, Any]
_TYPE = "type.googleapis.com/envoy.extensions"
CASE_HEADER = "x-case"


def config(cases: Sequence[Sequence[Policy]]) -> Json:
    """Return an Envoy that answers 200 to what the policies of case number `x-case` allow, and 403 to the rest."""
    routes = [
        {
            "match": {
                "prefix": "/",
                "headers": [{"name": CASE_HEADER, "string_match": {"exact": str(number)}}],
            },
            "direct_response": {"status": 200},
            "typed_per_filter_config": {
                "deny": _per_route(policies, Action.DENY),
                "allow": _per_route(policies, Action.ALLOW),
            },
        }
        for number, policies in enumerate(cases)
    ]
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "use_remote_address": True,
        "xff_num_trusted_hops": 1,
        "normalize_path": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "deny", "typed_config": {"@type": f"{_TYPE}.filters.http.rbac.v3.RBAC"}},
            {"name": "allow", "typed_config": {"@type": f"{_TYPE}.filters.http.rbac.v3.RBAC"}},
            {"name": "router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}},
        ],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    filters = [{"name": "http", "typed_config": manager}]
    return {
        "admin": {"address": address},
        "static_resources": {
            "listeners": [{"name": "in", "address": address, "filter_chains": [{"filters": filters}]}]
        },
    }


def _per_route(policies: Sequence[Policy], action: Action) -> Json:
    chosen = {
        f"{policy.name}-{number}": {
            "permissions": [_any([_permission(one) for one in rule.operations])],
            "principals": [_principal(rule)],
        }
        for policy in policies
        if policy.action is action
        for number, rule in enumerate(policy.rules)
    }
    base: Json = {"@type": f"{_TYPE}.filters.http.rbac.v3.RBACPerRoute"}
    if not chosen and not any(policy.action is action for policy in policies):
        # No rules at all would be no filter; with ALLOW and nothing to allow, everything is denied.
        return base | ({"rbac": {"rules": {"action": "ALLOW"}}} if action is Action.ALLOW else {})
    return base | {"rbac": {"rules": {"action": action.value, "policies": chosen}}}


def _any(items: list[Json], key: str = "or_rules", inner: str = "rules") -> Json:
    return {key: {inner: items}} if items else {"any": True}


def _fields(parts: list[tuple[Sequence[Any], Sequence[Any], Callable[[Any], Json]]], kind: str) -> Json:
    found: list[Json] = []
    inner = "rules" if kind == "rule" else "ids"
    for wanted, unwanted, make in parts:
        if wanted:
            found.append({f"or_{inner}": {inner: [make(one) for one in wanted]}})
        if unwanted:
            found.append({f"not_{kind}": {f"or_{inner}": {inner: [make(one) for one in unwanted]}}})
    return {f"and_{inner}": {inner: found}} if found else {"any": True}


def _permission(operation: Operation) -> Json:
    return _fields(
        [
            (operation.methods, operation.not_methods, lambda text: _header(":method", text)),
            (operation.paths, operation.not_paths, _path),
            (operation.hosts, operation.not_hosts, _host),
            (operation.ports, operation.not_ports, lambda port: {"destination_port": port}),
        ],
        "rule",
    )


def _principal(rule: Rule) -> Json:
    sources = [_source(source) for source in rule.sources]
    called_by = {"or_ids": {"ids": sources}} if sources else {"any": True}
    return {"and_ids": {"ids": [called_by, *map(_condition, rule.when)]}}


def _source(source: Source) -> Json:
    return _fields(
        [
            (source.ip_blocks, source.not_ip_blocks, lambda text: {"direct_remote_ip": _block(text)}),
            (source.remote_ip_blocks, source.not_remote_ip_blocks, lambda text: {"remote_ip": _block(text)}),
        ],
        "id",
    )


def _condition(condition: Condition) -> Json:
    name = condition.key.removeprefix("request.headers[").removesuffix("]")
    return _fields([(condition.values, condition.not_values, lambda text: _header(name, text))], "id")


def _block(text: str) -> Json:
    address, _, size = text.partition("/")
    return {"address_prefix": address, "prefix_len": int(size or 32)}


def _string(text: str) -> Json:
    if text == "*":
        return {"safe_regex": {"regex": ".+"}}
    if text.endswith("*"):
        return {"prefix": text[:-1]}
    return {"suffix": text[1:]} if text.startswith("*") else {"exact": text}


def _header(name: str, text: str) -> Json:
    if text == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": _string(text)}}


def _path(text: str) -> Json:
    if "{" not in text:
        return {"url_path": {"path": _string(text)}}
    template = text.replace("{**}", "**").replace("{*}", "*")
    return {
        "uri_template": {
            "name": "template",
            "typed_config": {
                "@type": f"{_TYPE}.path.match.uri_template.v3.UriTemplateMatchConfig",
                "path_template": template,
            },
        }
    }


def _host(text: str) -> Json:
    if text == "*":
        return _header(":authority", "*")
    body = re.escape(text.strip("*"))
    regex = f"{body}.*" if text.endswith("*") else f".*{body}" if text.startswith("*") else body
    return {"header": {"name": ":authority", "string_match": {"safe_regex": {"regex": f"(?i){regex}"}}}}
