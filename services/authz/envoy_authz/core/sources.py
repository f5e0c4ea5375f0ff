"""`from.source` turned into tests."""

from collections.abc import Callable, Iterable

from envoy_authz.core.addresses import in_blocks
from envoy_authz.core.checks import Check, all_of, negated, on
from envoy_authz.core.facts import Facts
from envoy_authz.core.patterns import SPIFFE_SCHEME, Kind, Test, any_of, parse_pattern, parse_principal
from envoy_authz.core.policy import Patterns, Source

Make = Callable[[Patterns], Check]


def source_test(source: Source, namespace: str, *, careful: bool) -> Check | None:
    """Return the test of one source of a policy in *namespace*; None if it matches any. See `conditions` for *careful*."""
    accounts = lambda names: on("source.account", _accounts(names, namespace))  # noqa: E731 - one of a table of makers
    clients = source.remote_ip_blocks, source.not_remote_ip_blocks
    fields: tuple[tuple[Patterns, Patterns, Make], ...] = (
        (source.principals, source.not_principals, _principals),
        (source.namespaces, source.not_namespaces, _text("source.namespace")),
        (source.service_accounts, source.not_service_accounts, accounts),
        (source.trust_domains, source.not_trust_domains, _text("source.trust_domain")),
        (source.ip_blocks, source.not_ip_blocks, _peer_blocks),
        (source.request_principals, source.not_request_principals, _request_principals),
    )
    checks: list[Check] = []
    for wanted, unwanted, make in fields:
        if wanted:
            checks.append(make(wanted))
        if unwanted:
            checks.append(negated(make(unwanted)))
    if any(clients):
        checks.append(_client_blocks(*clients, careful=careful))
    return all_of(checks)


def callers_of(sources: Iterable[Source]) -> frozenset[str] | None:
    """Return the only source principals that *sources* can match, as Envoy gives them; None if they can't be listed."""
    callers: set[str] = set()
    for source in sources:
        patterns = [parse_principal(text) for text in source.principals]
        if not patterns or any(pattern.kind is not Kind.EXACT for pattern in patterns):
            return None
        callers.update(SPIFFE_SCHEME + pattern.text for pattern in patterns)
    return frozenset(callers) or None


def is_only_callers(sources: Iterable[Source]) -> bool:
    """Whether *sources* say nothing but `principals`."""
    return all(source == Source(principals=source.principals) for source in sources)


def _principals(texts: Patterns) -> Check:
    return on("caller", any_of([parse_principal(text) for text in texts], SPIFFE_SCHEME))


def _text(attribute: str) -> Make:
    return lambda texts: on(attribute, _patterns(texts))


def _peer_blocks(texts: Patterns) -> Check:
    test = in_blocks(texts)
    return lambda facts: test(facts.source_ip)


def _client_blocks(wanted: Patterns, unwanted: Patterns, *, careful: bool) -> Check:
    """Return the test of the client's address; one that is not known is what each action has to fear."""
    within, without = in_blocks(wanted), in_blocks(unwanted)

    def check(facts: Facts) -> bool:
        client = facts.remote_ip
        if client is None:
            return not careful
        return (not wanted or within(client)) and not without(client)

    return check


def _request_principals(texts: Patterns) -> Check:
    test = _patterns(texts)
    return lambda facts: any(map(test, facts.request_principals))


def _accounts(names: Patterns, namespace: str) -> Test:
    full = frozenset(name if "/" in name else f"{namespace}/{name}" for name in names)
    return full.__contains__


def _patterns(texts: Patterns) -> Test:
    return any_of([parse_pattern(text) for text in texts])
