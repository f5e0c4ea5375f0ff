"""Rules that decide nothing: the checks of `lint` that compare rules with each other and with the issuers."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import NamedTuple

from envoy_authz.authenticators.model import RequestAuthentication
from envoy_authz.commands.advice import Advice, camel
from envoy_authz.commands.cover import (
    all_within,
    condition_covers,
    covers_pattern,
    covers_rule,
    covers_scope,
    field_covers,
    uses_accounts_of_its_own,
)
from envoy_authz.commands.places import Keys, Places
from envoy_authz.core.attributes import Compared, name_of, parse_key
from envoy_authz.core.patterns import parse_pattern
from envoy_authz.core.policy import Action, Operation, Policy, Rule, Source

_NOT = "not_"
# Those that every token may have (RFC 7519, RFC 9068, OpenID Connect Core).
REGISTERED = frozenset(
    {
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "scope", "client_id", "auth_time", "nonce"),
        *("acr", "amr", "sid", "cnf"),
    }
)


class Placed(NamedTuple):
    """A rule, and where it is."""

    policy: Policy
    number: int
    rule: Rule

    @property
    def name(self) -> str:
        """How findings name it."""
        return f"spec.rules[{self.number}] of {self.policy.full_name}"


def all_rules(policies: Sequence[Policy]) -> list[Placed]:
    """Return the rules of all policies."""
    return [Placed(policy, number, rule) for policy in policies for number, rule in enumerate(policy.rules)]


def hidden(one: Placed, others: Sequence[Placed], places: Places, root: str) -> Advice | None:
    """Return what makes *one* needless, if any of *others* does: a copy, a wider rule, or a DENY."""
    keys: Keys = ("rules", one.number)
    for other in others:
        if other == one or other.policy.dry_run or one.policy.dry_run:
            continue
        if not covers_scope(other.policy, one.policy, root) or not _comparable(other, one):
            continue
        if not covers_rule(other.rule, one.rule):
            continue
        at = places.at(other.policy, other.number)
        if other.policy.action is one.policy.action:
            found = _shadowed(one, other, others, at, root)
            if found is not None:
                return Advice(keys, *found)
        elif other.policy.action is Action.DENY and one.policy.action is Action.ALLOW:
            message = f"never allows: {other.name} ({at}) denies all that it matches"
            return Advice(keys, message, "remove it, or narrow the DENY")
    return None


def _comparable(wide: Placed, narrow: Placed) -> bool:
    return wide.policy.namespace == narrow.policy.namespace or not (
        uses_accounts_of_its_own(wide.rule) or uses_accounts_of_its_own(narrow.rule)
    )


def _shadowed(
    one: Placed, other: Placed, others: Sequence[Placed], at: str, root: str
) -> tuple[str, str] | None:
    if one.policy.action is Action.AUDIT or (
        one.policy.mutation and one.policy.mutation != other.policy.mutation
    ):
        return None
    if one.policy.deny_response != other.policy.deny_response:
        return None
    same = covers_rule(one.rule, other.rule) and covers_scope(one.policy, other.policy, root)
    if not same:
        return (
            f"never decides: {other.name} ({at}) matches all that it matches",
            "remove it, or narrow the other",
        )
    if others.index(other) > others.index(one):
        return None  # said once, at the later of the two
    return f"is a duplicate of {other.name} ({at})", "remove one of them"


def contradictions(rule: Rule, number: int, action: Action) -> Iterator[Advice]:
    """Yield the parts of a rule that no request can match."""
    halves: tuple[tuple[str, Sequence[Source | Operation]], ...] = (
        ("from", rule.sources),
        ("to", rule.operations),
    )
    for key, parts in halves:
        member = "source" if key == "from" else "operation"
        for place, part in enumerate(parts):
            for name in _impossible(part):
                message = f"can't be matched: {camel(_NOT + name)} takes away all of {name if name.islower() and '_' not in name else camel(name)}"
                yield Advice(
                    ("rules", number, key, place, member, camel(name)), message, "remove one of the two"
                )
            if isinstance(part, Operation) and action is Action.ALLOW and part.grpc_methods and part.methods:
                if not any(
                    covers_pattern(parse_pattern(text), parse_pattern("POST")) for text in part.methods
                ):
                    message = "can't be matched: a gRPC call is a POST, which is not among methods"
                    yield Advice(("rules", number, key, place, member, "methods"), message, "remove methods")
    for place, condition in enumerate(rule.when):
        # Absent values pass `notValues`, and several may stand in a header or a claim.
        single = parse_key(condition.key).compared in {Compared.ADDRESS, Compared.PORT, Compared.PRINCIPAL}
        covers = condition_covers(condition.key)
        if single and condition.values and all_within(condition.not_values, condition.values, covers):
            message = "can't be matched: notValues takes away all of values"
            yield Advice(("rules", number, "when", place), message, "remove one of the two")


def _impossible(part: Source | Operation) -> Iterator[str]:
    for field in fields(part):
        name = field.name
        # Of several tokens one may be the wanted, and another the unwanted.
        if name.startswith(_NOT) or name == "request_principals":
            continue
        wanted, unwanted = getattr(part, name), getattr(part, _NOT + name)
        if wanted and unwanted and all_within(unwanted, wanted, field_covers(name)):
            yield name


def unissued(
    rule: Rule, number: int, issuers: Sequence[RequestAuthentication], known: frozenset[str]
) -> Iterator[Advice]:
    """Yield what a rule asks of tokens that no issuer gives; *known* are claims that issuers are said to make."""
    names = [one.issuer for document in issuers for one in document.rules]
    for place, source in enumerate(rule.sources):
        keys: Keys = ("rules", number, "from", place, "source", "requestPrincipals")
        yield from _principals(source.request_principals, names, keys)
    for place, condition in enumerate(rule.when):
        keys = ("rules", number, "when", place)
        name, parts = name_of(condition.key), parse_key(condition.key).parts
        if not name.startswith("request.auth."):
            continue
        if not names:
            yield _nobody(keys)
        elif name == "request.auth.principal":
            yield from _principals(condition.values, names, (*keys, "values"))
        elif name == "request.auth.claims" and parts[0] == "iss":
            yield from _issuers(condition.values, names, (*keys, "values"))
        elif name == "request.auth.claims" and known and parts[0] not in known | REGISTERED:
            message = f"no issuer is said to make the claim {parts[0]!r}"
            yield Advice((*keys, "key"), message, f"known by --claim: {', '.join(sorted(known))}")


def _nobody(keys: Keys) -> Advice:
    message = "asks for a token, and there is no RequestAuthentication: no token is ever verified"
    return Advice(keys, message, "add a RequestAuthentication with its issuer")


def _principals(texts: Sequence[str], issuers: Sequence[str], keys: Keys) -> Iterator[Advice]:
    if texts and not issuers:
        yield _nobody(keys)
        return
    for place, text in enumerate(texts):
        body, ended = text.removesuffix("*"), not text.endswith("*")
        if text.startswith("*"):
            continue
        fits = [
            body.startswith(f"{issuer}/") or (not ended and f"{issuer}/".startswith(body))
            for issuer in issuers
        ]
        if not any(fits):
            hint = f"write <issuer>/<subject>, of {', '.join(sorted(set(issuers)))}"
            yield Advice((*keys, place), f"{text!r} is of no issuer that is configured", hint)


def _issuers(texts: Sequence[str], issuers: Sequence[str], keys: Keys) -> Iterator[Advice]:
    for place, text in enumerate(texts):
        pattern = parse_pattern(text)
        if not any(covers_pattern(pattern, parse_pattern(issuer)) for issuer in issuers if "*" not in issuer):
            hint = f"configured: {', '.join(sorted(set(issuers)))}"
            yield Advice((*keys, place), f"{text!r} is no issuer that is configured", hint)
