"""What may be written and is probably not meant: the checks of `lint` that look at one value at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from ipaddress import ip_network
from typing import NamedTuple

from envoy_authz.commands.places import Keys
from envoy_authz.core.patterns import Kind, parse_path, parse_pattern, parse_principal
from envoy_authz.core.policy import Action, Operation, Policy, Rule, Source

_NOT = "not_"
_DELIMITERS = "/.:-_@"


class Advice(NamedTuple):
    """One piece of it: `keys` lead below `spec` of the policy."""

    keys: Keys
    message: str
    hint: str


def camel(name: str) -> str:
    """Return a field of the model as policies write it: `not_ip_blocks` is `notIpBlocks`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def advise(policy: Policy) -> Iterator[Advice]:
    """Yield the advice about each value of *policy*."""
    for number, rule in enumerate(policy.rules):
        here: Keys = ("rules", number)
        if policy.action is Action.ALLOW and rule == Rule():
            yield Advice(
                here, "this rule allows every request of everybody", "say who in `from`, or what in `to`"
            )
        for place, source in enumerate(rule.sources):
            yield from _fields(policy, source, (*here, "from", place, "source"))
        for place, operation in enumerate(rule.operations):
            yield from _fields(policy, operation, (*here, "to", place, "operation"))
            yield from _hosts(operation.hosts, policy.action, (*here, "to", place, "operation", "hosts"))


def _fields(policy: Policy, part: Source | Operation, keys: Keys) -> Iterator[Advice]:
    for field in fields(part):
        positive = not field.name.startswith(_NOT)
        # What opens: a positive pattern of an ALLOW, or a negative one of a DENY.
        if policy.action is Action.AUDIT or positive is not (policy.action is Action.ALLOW):
            continue
        for place, text in enumerate(getattr(part, field.name)):
            found = _broad(field.name.removeprefix(_NOT), str(text))
            if found is not None:
                yield Advice((*keys, camel(field.name), place), *found)


def _broad(name: str, text: str) -> tuple[str, str] | None:
    if name in {"ip_blocks", "remote_ip_blocks"}:
        if ip_network(text, strict=False).prefixlen == 0:
            return f"{text!r} is every address", "name the networks that are meant"
        return None
    if name == "principals":
        return _principal(text)
    if name == "paths":
        return _path(text)
    if name == "hosts":
        return _host(text)
    if name in {"methods", "namespaces", "trust_domains"} and text == "*":
        return f"'*' is any of the {camel(name)}", "list those that are meant, or remove the field"
    return None


def _principal(text: str) -> tuple[str, str] | None:
    pattern = parse_principal(text)
    if pattern.kind is Kind.PRESENT or not pattern.text:
        hint = "name the trust domain and the namespace: shop.example/ns/web/*"
        return f"{text!r} is any identity of any trust domain", hint
    if pattern.kind is Kind.SUFFIX:
        hint = f"begin with the trust domain: shop.example{'' if pattern.text.startswith('/') else '/'}…"
        return f"{text!r} has no start: an identity of any trust domain may end so", hint
    if pattern.kind is Kind.PREFIX and pattern.text[-1] not in _DELIMITERS:
        return _unended(text, pattern.text)
    return None


def _path(text: str) -> tuple[str, str] | None:
    pattern = parse_path(text)
    if text in {"*", "/*", "/{**}"}:
        return f"{text!r} is every path", "list the paths that are meant, or remove the field"
    if pattern.kind is Kind.SUFFIX:
        hint = "begin with the folder, as in a template: /static/{**}, or list the paths"
        return f"{text!r} has no start: a path below any folder may end so", hint
    if pattern.kind is Kind.PREFIX and pattern.text[-1] not in _DELIMITERS:
        return _unended(text, pattern.text)
    return None


def _host(text: str) -> tuple[str, str] | None:
    pattern = parse_pattern(text)
    if pattern.kind is Kind.PRESENT:
        return "'*' is every host", "list the hosts that are meant, or remove the field"
    if pattern.kind is Kind.SUFFIX and pattern.text[0] not in ".:":
        return f"{text!r} is also evil{pattern.text}", f"write '*.{pattern.text}', and '{pattern.text}'"
    if pattern.kind is Kind.PREFIX and pattern.text[-1] != ":":
        return f"{text!r} is also {pattern.text.rstrip('.')}.evil.example", "write the whole host"
    return None


def _unended(text: str, prefix: str) -> tuple[str, str]:
    return (
        f"{text!r} ends inside a name: it is also {prefix + '-other'!r}",
        f"write {prefix!r} and '{prefix}/*'",
    )


def _hosts(hosts: Sequence[str], action: Action, keys: Keys) -> Iterator[Advice]:
    texts = {host.lower() for host in hosts}
    for place, host in enumerate(hosts):
        pattern = parse_pattern(host.lower())
        if pattern.kind is Kind.PRESENT or pattern.kind is Kind.PREFIX or _has_port(pattern.text):
            continue
        name = pattern.text if pattern.kind is Kind.EXACT else f"*{pattern.text}"
        if pattern.kind is Kind.SUFFIX:
            continue  # what ends in a port can't be written besides
        if any(other.startswith(f"{name}:") for other in texts) or f"{name}*" in texts:
            continue
        outcome = "is refused" if action is Action.ALLOW else "is not matched here"
        message = f"{host!r} is without a port: a request for {name}:8080 {outcome}"
        yield Advice((*keys, place), message, f"list '{name}:*' as well")


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]
