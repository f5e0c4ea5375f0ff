"""Policies that name a trust domain by one of its other names, rewritten to its own: callers are known by that one.

A DENY of `old.example/ns/shop/*` would else never match a caller who shows that identity.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from envoy_authz.core.patterns import SPIFFE_SCHEME
from envoy_authz.core.policy import Condition, Patterns, Policy, Rule, Source

Aliases = Mapping[str, str]
"""The trust domain's own name for each of its others."""
_Texts = Callable[[str, Aliases], Iterator[str]]


def with_own_names(policy: Policy, aliases: Aliases) -> Policy:
    """Return *policy* with each alias in it replaced, or joined, by what its identities are called here."""
    if not aliases:
        return policy
    return replace(policy, rules=tuple(_rule(rule, aliases) for rule in policy.rules))


def _rule(rule: Rule, aliases: Aliases) -> Rule:
    return replace(
        rule,
        sources=tuple(_source(source, aliases) for source in rule.sources),
        when=tuple(_condition(condition, aliases) for condition in rule.when),
    )


def _source(source: Source, aliases: Aliases) -> Source:
    return replace(
        source,
        principals=_each(source.principals, _principals, aliases),
        not_principals=_each(source.not_principals, _principals, aliases),
        trust_domains=_each(source.trust_domains, _domains, aliases),
        not_trust_domains=_each(source.not_trust_domains, _domains, aliases),
    )


def _condition(condition: Condition, aliases: Aliases) -> Condition:
    named = {"source.principal": _principals, "source.trustDomain": _domains}.get(condition.key)
    if named is None:
        return condition
    values, not_values = condition.values, condition.not_values
    return replace(
        condition, values=_each(values, named, aliases), not_values=_each(not_values, named, aliases)
    )


def _each(texts: Patterns, named: _Texts, aliases: Aliases) -> Patterns:
    return tuple(dict.fromkeys(found for text in texts for found in named(text, aliases)))


def _principals(text: str, aliases: Aliases) -> Iterator[str]:
    if text.startswith("*"):
        yield text
        return
    domain, slash, path = text.removeprefix(SPIFFE_SCHEME).partition("/")
    if slash:
        yield f"{aliases.get(domain, domain)}/{path}"
        return
    yield text
    if domain.endswith("*") and domain != "*":
        for alias, own in aliases.items():
            if alias.startswith(domain[:-1]):
                yield f"{own}/*"


def _domains(text: str, aliases: Aliases) -> Iterator[str]:
    yield text
    for alias, own in aliases.items():
        prefix, suffix = text.endswith("*") and text[:-1], text.startswith("*") and text[1:]
        if alias == text or (prefix and alias.startswith(prefix)) or (suffix and alias.endswith(suffix)):
            yield own
