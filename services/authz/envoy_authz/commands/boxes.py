"""Rules taken apart into tests of one dimension each: what must hold of a request, and of which part of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.literals import compared
from envoy_authz.core.applicability import has_labels
from envoy_authz.core.attributes import name_of, parse_key
from envoy_authz.core.checks import all_of, on
from envoy_authz.core.conditions import compile_condition
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.expressions import used_variables
from envoy_authz.core.facts import Facts
from envoy_authz.core.operations import operation_tests
from envoy_authz.core.patterns import (
    SPIFFE_SCHEME,
    Kind,
    Pattern,
    any_of,
    parse_path,
    parse_principal,
    template_prefix,
)
from envoy_authz.core.policy import Action, Condition, Operation, Policy, Rule, Source
from envoy_authz.core.sources import source_test

Check = Callable[[Facts], bool]
_NOT = "not_"
_DIMENSIONS = {
    "principals": dim.PRINCIPAL,
    "namespaces": dim.PRINCIPAL,
    "service_accounts": dim.PRINCIPAL,
    "trust_domains": dim.PRINCIPAL,
    "request_principals": dim.TOKEN,
    "ip_blocks": dim.ADDRESS,
    "methods": dim.METHOD,
    "paths": dim.PATH,
    "hosts": dim.HOST,
    "ports": dim.PORT,
    "grpc_methods": dim.PATH,
}
_KEYS = {
    "source.ip": dim.ADDRESS,
    "source.namespace": dim.PRINCIPAL,
    "source.serviceAccount": dim.PRINCIPAL,
    "source.trustDomain": dim.PRINCIPAL,
    "source.principal": dim.PRINCIPAL,
    "request.auth.principal": dim.TOKEN,
    "request.auth.audiences": dim.AUDIENCE,
    "request.auth.presenter": dim.PRESENTER,
    "destination.ip": dim.DESTINATION,
    "destination.port": dim.PORT,
    "connection.sni": dim.SNI,
}
_BELOW = {
    "request.headers": dim.HEADER,
    "request.auth.claims": dim.CLAIM,
    "request.body.json": dim.JSON,
    "request.body.form": dim.FORM,
}
_PSEUDO = {
    ":authority": dim.HOST,
    "host": dim.HOST,
    ":method": dim.METHOD,
    ":path": dim.PATH,
    ":scheme": dim.SCHEME,
}


@dataclass(frozen=True, slots=True)
class Test:
    """A test of one *dimension*; equal ones hold for the same requests."""

    dimension: str
    kind: str
    values: tuple[Any, ...]
    namespace: str = ""
    careful: bool = True

    def compiled(self) -> Check:
        """Return the core's own test."""
        return _COMPILERS.get(self.kind, _field)(self)

    def starts(self) -> tuple[str, ...] | None:
        """Return what every value begins with that the test holds for; None if it holds for others too."""
        if self.kind not in _STARTS:
            return None
        parse, scheme = _STARTS[self.kind]
        starts = [_start(parse(text)) for text in self.values]
        return None if "" in starts else tuple(scheme + start for start in starts)


def _start(pattern: Pattern) -> str:
    if pattern.kind is Kind.TEMPLATE:
        return template_prefix(pattern.text)
    return pattern.text if pattern.kind in {Kind.EXACT, Kind.PREFIX} else ""


class Clause(NamedTuple):
    """One way in which rule *number* of *policy* matches: all *tests* hold, and what of *loose* is not seen there.

    *loose* are the dimensions that CEL compares, or that one test reads together; *reads* are the variables of CEL.
    """

    policy: Policy
    number: int
    tests: tuple[Test, ...]
    loose: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()


def clauses_of(policies: PolicySet) -> Iterator[Clause]:
    """Yield the clauses of all rules that are enforced and allow or deny."""
    for policy in policies.policies:
        if policy.dry_run or policy.action is Action.AUDIT:
            continue
        scope = tuple(
            scope_tests(policy, policies.options.root_namespace, careful=policy.action is Action.ALLOW)
        )
        for number, rule in enumerate(policy.rules):
            reads = frozenset(name for text in rule.expressions for name in used_variables(text))
            for tests, loose in _alternatives(rule, policy, policies.options.trusted_hops):
                yield Clause(policy, number, (*scope, *tests), loose, reads)


def scope_tests(policy: Policy, root_namespace: str, *, careful: bool) -> Iterator[Test]:
    """Yield the tests whether *policy* applies to the workload; one that is unknown has it only if not *careful*."""
    if policy.namespace not in {"", root_namespace}:
        allowed = (policy.namespace,) if careful else (policy.namespace, "")
        yield Test(dim.NAMESPACE, "namespace", allowed)
    for name, value in policy.selector.items():
        yield Test(dim.LABEL + name, "label", (name, value), careful=careful)


def _alternatives(rule: Rule, policy: Policy, hops: int) -> Iterator[tuple[tuple[Test, ...], frozenset[str]]]:
    careful = policy.action is Action.ALLOW
    shared = tuple(_condition(condition, hops, careful=careful) for condition in rule.when)
    loose = frozenset(name for text in rule.expressions for name, _value in compared(text))
    for source in rule.sources or (Source(),):
        from_tests = tuple(_tests(source, policy, hops))
        for operation in rule.operations or (Operation(),):
            grpc = operation.grpc_methods if careful else operation.not_grpc_methods
            more = frozenset({dim.METHOD, dim.CONTENT_TYPE}) if grpc else frozenset()
            yield (*shared, *from_tests, *_tests(operation, policy, hops)), loose | more


def _tests(part: Source | Operation, policy: Policy, hops: int) -> Iterator[Test]:
    for one in fields(part):
        values = getattr(part, one.name)
        name = one.name.removeprefix(_NOT)
        if not values or (one.name == "not_grpc_methods"):
            continue
        where = (dim.CLIENT if hops else dim.ADDRESS) if name == "remote_ip_blocks" else _DIMENSIONS[name]
        yield Test(where, one.name, tuple(values), policy.namespace, policy.action is Action.ALLOW)


def dimension_of(key: str, hops: int) -> str:
    """Return the dimension that the key of a condition names."""
    name, parts = name_of(key), parse_key(key).parts
    if name == "remote.ip":
        return dim.CLIENT if hops else dim.ADDRESS
    if name in _KEYS:
        return _KEYS[name]
    if name == "request.headers":
        header = parts[0].lower()
        return _PSEUDO.get(header, dim.HEADER + header)
    if name == "request.auth.claims" and parts in {("iss",), ("sub",)}:
        return dim.TOKEN
    return dim.below(_BELOW[name], parts)


def _condition(condition: Condition, hops: int, *, careful: bool) -> Test:
    values = (condition.key, condition.values, condition.not_values)
    return Test(dimension_of(condition.key, hops), "condition", values, careful=careful)


def _field(test: Test) -> Check:
    chosen: dict[str, Any] = {test.kind: test.values}
    if test.kind.removeprefix(_NOT) == "paths":
        path = on("path", any_of([parse_path(text) for text in test.values]))
        return path if test.kind == "paths" else lambda facts: not path(facts)
    if test.kind == "grpc_methods":
        # Method and content type are dimensions of their own.
        named = operation_tests(Operation(**chosen), careful=False)
        return named[0].check
    if hasattr(Operation(), test.kind):
        return _sure(
            all_of([one.check for one in operation_tests(Operation(**chosen), careful=test.careful)])
        )
    return _sure(source_test(Source(**chosen), test.namespace, careful=test.careful))


def _sure(check: Check | None) -> Check:
    assert check is not None  # noqa: S101 - a field with values is a test
    return check


def _compiled_condition(test: Test) -> Check:
    key, values, not_values = test.values
    return compile_condition(Condition(key, values, not_values), careful=test.careful)


def _compiled_namespace(test: Test) -> Check:
    return lambda facts: facts.namespace in test.values


def _compiled_label(test: Test) -> Check:
    name, value = test.values
    return lambda facts: has_labels(facts.request, {name: value}, unknown=not test.careful)


_STARTS: dict[str, tuple[Callable[[str], Pattern], str]] = {
    "paths": (parse_path, ""),
    "principals": (parse_principal, SPIFFE_SCHEME),
}
_COMPILERS: dict[str, Callable[[Test], Check]] = {
    "condition": _compiled_condition,
    "namespace": _compiled_namespace,
    "label": _compiled_label,
}
