"""All values that a set of policies writes, with those beside them, by dimension."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

from envoy_authz.commands import around
from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.asked import Asked
from envoy_authz.commands.boxes import dimension_of
from envoy_authz.commands.dimensions import Value
from envoy_authz.commands.literals import compared
from envoy_authz.core.attributes import Compared, name_of, parse_key
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.paths import normalizer
from envoy_authz.core.policy import Condition, Operation, Policy, Source

Around = Callable[[str], Iterable[Value]]
_NOT = "not_"
_METHODS = ("GET", "POST", "PUT", "DELETE", "OTHER")
_FRESH: Mapping[str, tuple[Value, ...]] = {
    dim.METHOD: (*_METHODS,),
    dim.PATH: ("/", "/other"),
    dim.HOST: (None, "other.example"),
    dim.SCHEME: (None, "https"),
    dim.PRINCIPAL: (None, "spiffe://other.example/ns/other/sa/other"),
    dim.ADDRESS: (None, "198.51.100.7"),
    dim.CLIENT: (None, "198.51.100.7"),
}
"""What no policy may have written; nobody's values of the others are absent, or `other`."""


@dataclass(slots=True)
class _Identities:
    """What is asked of a caller's identity part by part."""

    domains: list[str] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)


def harvest(
    policies: Sequence[PolicySet], requests: Iterable[Asked], issuers: Mapping[str, Sequence[str]]
) -> dict[str, list[Value]]:
    """Return the values to try in each dimension that any of *policies* asks about; the plainest come first.

    The values of *requests* are among them. *issuers* are those that are trusted, with their audiences.
    """
    found: dict[str, dict[tuple[type, Value], Value]] = {}
    for name, value in _values(policies, issuers):
        values = found.setdefault(name, {})
        if not values:
            values.update({(type(fresh), fresh): fresh for fresh in _plain(name)})
        values.setdefault((type(value), value), value)
    hops = policies[0].options.trusted_hops
    for name in (dim.METHOD, dim.PATH):
        found.setdefault(name, {(str, value): value for value in _FRESH[name]})
    for asked in requests:
        for name, values in found.items():
            own = dim.get(asked, name, hops=hops)
            values.setdefault((type(own), own), own)
    return {name: _last_fresh(name, list(values.values())) for name, values in found.items()}


def _plain(name: str) -> tuple[Value, ...]:
    return _FRESH.get(name, (None,))[:1]


def _last_fresh(name: str, values: list[Value]) -> list[Value]:
    fresh = _FRESH.get(name, (None, "other") if name != dim.PORT else (None, 1))
    return [*values, *(value for value in fresh if value not in values)]


def _values(
    policies: Sequence[PolicySet], issuers: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Value]]:
    who = _Identities()
    hops = policies[0].options.trusted_hops
    keep = normalizer(policies[0].options.normalization)
    for policy in (policy for one in policies for policy in one.policies if not policy.dry_run):
        for name, value in _of_policy(policy, hops, who):
            if name != dim.PATH or (
                isinstance(value, str) and value.startswith("/") and keep(value) == value
            ):
                yield name, value
    if who.domains or who.namespaces or who.accounts:
        for identity in around.around_identities(who.domains, who.namespaces, who.accounts):
            yield dim.PRINCIPAL, identity
    yield from ((dim.TOKEN, f"{issuer}/somebody") for issuer in issuers)
    yield from ((dim.AUDIENCE, audience) for audiences in issuers.values() for audience in audiences)


def _of_policy(policy: Policy, hops: int, who: _Identities) -> Iterator[tuple[str, Value]]:
    if policy.namespace:
        yield dim.NAMESPACE, policy.namespace
    for name, value in policy.selector.items():
        yield dim.LABEL + name, value
    for rule in policy.rules:
        for source in rule.sources:
            yield from _of_source(source, policy.namespace, hops, who)
        for operation in rule.operations:
            yield from _of_operation(operation)
        for condition in rule.when:
            yield from _of_condition(condition, hops, who)
        for text in rule.expressions:
            yield from compared(text)


def _each(part: Source | Operation) -> Iterator[tuple[str, str]]:
    for one in fields(part):
        for text in getattr(part, one.name):
            yield one.name.removeprefix(_NOT), str(text)


def _of_source(source: Source, namespace: str, hops: int, who: _Identities) -> Iterator[tuple[str, Value]]:
    for name, text in _each(source):
        if name == "namespaces":
            who.namespaces.append(text)
        elif name == "trust_domains":
            who.domains.append(text)
        elif name == "service_accounts":
            who.accounts.append(text if "/" in text else f"{namespace}/{text}")
        elif name == "principals":
            yield from ((dim.PRINCIPAL, value) for value in around.around_principal(text))
            who.domains.append(text.removeprefix("spiffe://").partition("/")[0])
        elif name == "request_principals":
            yield from ((dim.TOKEN, value) for value in _principals(text))
        else:
            where = dim.CLIENT if name == "remote_ip_blocks" and hops else dim.ADDRESS
            yield from ((where, value) for value in around.around_block(text))


def _principals(text: str) -> Iterator[str]:
    """Yield `issuer/subject` around a pattern of them."""
    # There is no principal without an issuer and a subject.
    yield from (value for value in around.around_text(text) if all(value.rpartition("/")[::2]))
    if text == "*":
        yield "https://issuer.example/somebody"


def _of_operation(operation: Operation) -> Iterator[tuple[str, Value]]:
    makers: Mapping[str, tuple[str, Around]] = {
        "methods": (dim.METHOD, around.around_text),
        "paths": (dim.PATH, around.around_path),
        "hosts": (dim.HOST, around.around_host),
        "ports": (dim.PORT, around.around_port),
        "grpc_methods": (dim.PATH, around.around_grpc),
    }
    for name, text in _each(operation):
        where, make = makers[name]
        # There are no methods beside GET, as there are paths beside /a.
        values = make(text) if name != "methods" or "*" in text else (text,)
        yield from ((where, value) for value in values if value)
        if name == "grpc_methods":
            yield dim.METHOD, "POST"
            yield dim.CONTENT_TYPE, "application/grpc"


def _of_condition(condition: Condition, hops: int, who: _Identities) -> Iterator[tuple[str, Value]]:
    name, attribute = name_of(condition.key), parse_key(condition.key)
    where = dimension_of(condition.key, hops)
    parts = {
        "source.namespace": who.namespaces,
        "source.trustDomain": who.domains,
        "source.serviceAccount": who.accounts,
    }
    for text in (*condition.values, *condition.not_values):
        if name in parts:
            parts[name].append(text)
            continue
        make: Around = _MAKERS.get(attribute.compared, around.around_text)
        if where == dim.TOKEN:
            yield from ((where, value) for value in _of_token(attribute.parts, text))
            continue
        yield from ((where, value) for value in (around.around_path if where == dim.PATH else make)(text))
        if attribute.compared is Compared.HEADER:
            yield where, f"{text.strip('*')},other"


_MAKERS: Mapping[Compared, Around] = {
    Compared.ADDRESS: around.around_block,
    Compared.PORT: around.around_port,
    Compared.PRINCIPAL: around.around_principal,
}


def _of_token(parts: tuple[str, ...], text: str) -> Iterator[str]:
    if parts == ("iss",):
        yield from (f"{value}/somebody" for value in around.around_text(text) if value)
    elif parts == ("sub",):
        yield from (f"https://issuer.example/{value}" for value in around.around_text(text) if value)
    else:
        yield from _principals(text)
