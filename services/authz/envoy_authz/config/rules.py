"""`spec.rules`: who calls, what is called, and under which conditions."""

from collections.abc import Callable, Mapping
from functools import partial

from envoy_authz.config.strings import (
    check_account,
    check_block,
    check_grpc_method,
    check_host,
    check_method,
    check_namespace_pattern,
    check_path,
    check_port,
    check_principal,
    check_text,
    check_trust_domain,
)
from envoy_authz.core.attributes import KEYS, OURS, Compared, name_of, parse_key
from envoy_authz.core.expressions import compile_expression
from envoy_authz.core.paths import Normalization
from envoy_authz.core.policy import Action, Condition, Operation, Patterns, Rule, Source
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_sidecar.config.strict import Problem, Reader

Check = Callable[[str], Problem | None]

_RULE = ("from", "to", "when")
_MAX_ACCOUNTS = 16
_NEEDS_OURS = "it needs apiVersion envoy-sidecars.dev/v1alpha1"
_OUR_OPERATION = dict.fromkeys(("grpcMethods", "notGrpcMethods"), _NEEDS_OURS)
_SOURCE: Mapping[str, tuple[str, Check]] = {
    "principals": ("principals", check_principal),
    "requestPrincipals": ("request_principals", check_text),
    "namespaces": ("namespaces", check_namespace_pattern),
    "serviceAccounts": ("service_accounts", check_account),
    "trustDomains": ("trust_domains", check_trust_domain),
    "ipBlocks": ("ip_blocks", check_block),
    "remoteIpBlocks": ("remote_ip_blocks", check_block),
}
_CONDITION_CHECKS: Mapping[Compared, Check] = {
    Compared.TEXT: check_text,
    Compared.HEADER: check_text,
    Compared.PRINCIPAL: check_principal,
    Compared.ADDRESS: check_block,
    Compared.PORT: check_port,
}


def read_rules(
    node: Node | None, action: Action, reader: Reader, mode: Normalization, *, ours: bool
) -> tuple[Rule, ...]:
    """Read `rules`; *ours* tells whether what Istio doesn't have may stand in them."""
    if node is None:
        return ()
    hint = "remove `rules` to match nothing, or write `rules: [{}]` to match everything"
    rules = []
    for item in reader.some_items(node, hint):
        fields = reader.fields(item, _RULE)
        conditions, expressions = _when(fields.get("when"), action, reader, ours=ours)
        rules.append(
            Rule(
                tuple(_source(one, reader) for one in _members(fields.get("from"), "source", reader)),
                tuple(
                    _operation(one, reader, mode, ours=ours)
                    for one in _members(fields.get("to"), "operation", reader)
                ),
                conditions,
                expressions,
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


def _negative(key: str) -> str:
    return f"not{key[0].upper()}{key[1:]}"


def _source(node: Node, reader: Reader) -> Source:
    fields = reader.fields(node, (*_SOURCE, *map(_negative, _SOURCE)))
    given: dict[str, Patterns] = {}
    for key, (name, check) in _SOURCE.items():
        given[name] = reader.strings(fields.get(key), check)
        given[f"not_{name}"] = reader.strings(fields.get(_negative(key)), check)
    for key in ("serviceAccounts", "notServiceAccounts"):
        accounts = fields.get(key)
        if accounts is None:
            continue
        if len(reader.items(accounts)) > _MAX_ACCOUNTS:
            reader.report(accounts, f"lists more than {_MAX_ACCOUNTS} service accounts", "use namespaces")
        if "principals" in fields or "namespaces" in fields:
            hint = "say who calls in one way: by service accounts, or by principals and namespaces"
            reader.report(accounts, f"{key!r} can't stand beside principals or namespaces", hint)
    return Source(**given)


def _operation(node: Node, reader: Reader, mode: Normalization, *, ours: bool) -> Operation:
    checks: dict[str, Check] = {
        "methods": check_method,
        "paths": partial(check_path, mode=mode),
        "hosts": check_host,
        "ports": check_port,
    }
    if ours:
        checks["grpcMethods"] = check_grpc_method
    known = (*checks, *map(_negative, checks))
    fields = reader.fields(node, known, {} if ours else _OUR_OPERATION)
    read = {key: reader.strings(fields.get(key), checks.get(key) or checks[_positive(key)]) for key in known}
    return Operation(
        methods=read["methods"],
        not_methods=read["notMethods"],
        paths=read["paths"],
        not_paths=read["notPaths"],
        hosts=read["hosts"],
        not_hosts=read["notHosts"],
        ports=_numbers(read["ports"]),
        not_ports=_numbers(read["notPorts"]),
        grpc_methods=read.get("grpcMethods", ()),
        not_grpc_methods=read.get("notGrpcMethods", ()),
    )


def _positive(key: str) -> str:
    return f"{key[3].lower()}{key[4:]}"


def _numbers(texts: Patterns) -> tuple[int, ...]:
    return tuple(int(text) for text in texts if check_port(text) is None)


def _when(
    node: Node | None, action: Action, reader: Reader, *, ours: bool
) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
    conditions: list[Condition] = []
    expressions: list[str] = []
    for item in reader.some_items(node, "remove it to make no condition") if node is not None else ():
        known = ("key", "values", "notValues", "cel") if ours else ("key", "values", "notValues")
        fields = reader.fields(item, known, {} if ours else {"cel": _NEEDS_OURS})
        cel = fields.get("cel")
        if cel is not None:
            if len(fields) > 1:
                reader.report(cel, "stands beside other fields", "write each condition as an item of its own")
            expressions.append(_expression(cel, action, reader))
        elif item.mapping is not None and "cel" not in item.mapping:
            conditions.append(_condition(item, fields, reader, ours=ours))
    return tuple(conditions), tuple(expressions)


def _expression(node: Node, action: Action, reader: Reader) -> str:
    text = reader.text(node)
    try:
        compile_expression(text, careful=action is Action.ALLOW)
    except ValueError as error:
        reader.report(node, str(error), "write an expression in CEL that gives a boolean")
    return text


def _condition(item: Node, fields: Mapping[str, Node], reader: Reader, *, ours: bool) -> Condition:
    key = fields.get("key")
    if key is None:
        reader.report(
            item, "has no key", "write which attribute is compared, such as request.headers[x-team]"
        )
        return Condition("")
    if "values" not in fields and "notValues" not in fields:
        reader.report(item, "compares with nothing", "write `values` or `notValues`")
    text = reader.text(key)
    check: Check = check_text
    try:
        attribute = parse_key(text)
    except ValueError as error:
        reader.report(key, str(error), f"known: {', '.join(KEYS)}")
    else:
        check = _CONDITION_CHECKS[attribute.compared]
        if name_of(text) in OURS and not ours:
            reader.report(key, f"{name_of(text)} is not Istio's", _NEEDS_OURS)
    return Condition(
        text, reader.strings(fields.get("values"), check), reader.strings(fields.get("notValues"), check)
    )
