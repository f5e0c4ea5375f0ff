"""Whether one rule matches all that another matches: by what is written, and never wrongly yes."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields

from envoy_authz.core.addresses import parse_block
from envoy_authz.core.attributes import Compared, parse_key
from envoy_authz.core.patterns import Kind, Pattern, parse_path, parse_pattern, parse_principal, template_test
from envoy_authz.core.policy import Condition, Operation, Policy, Rule, Source

Parse = Callable[[str], Pattern]
Covers = Callable[[str, str], bool]

_NOT = "not_"
_OPERATORS = re.compile(r"\{\*\*?\}")


def covers_pattern(wide: Pattern, narrow: Pattern) -> bool:
    """Whether every text that *narrow* matches is matched by *wide*."""
    if wide == narrow or wide.kind is Kind.PRESENT:
        return True
    if wide.kind is Kind.PREFIX and narrow.kind in {Kind.EXACT, Kind.PREFIX}:
        return narrow.text.startswith(wide.text)
    if wide.kind is Kind.PREFIX and narrow.kind is Kind.TEMPLATE:
        return narrow.text.partition("{")[0].startswith(wide.text)
    if wide.kind is Kind.SUFFIX and narrow.kind in {Kind.EXACT, Kind.SUFFIX}:
        return narrow.text.endswith(wide.text)
    if wide.kind is Kind.TEMPLATE and narrow.kind is Kind.EXACT:
        return template_test(wide.text)(narrow.text)
    if wide.kind is Kind.TEMPLATE and narrow.kind is Kind.TEMPLATE and "{**}" not in narrow.text:
        return template_test(wide.text)(_OPERATORS.sub("x", narrow.text)) and _literals_stay(wide, narrow)
    return False


def _literals_stay(wide: Pattern, narrow: Pattern) -> bool:
    """Whether *wide* asks for no literal where *narrow* has an operator."""
    pairs = zip(wide.text.split("/"), narrow.text.split("/"), strict=False)
    for wanted, given in pairs:
        if wanted == "{**}":
            return True
        if given == "{*}" and wanted != "{*}":
            return False
    return True


def _by(parse: Parse, fold: Callable[[str], str] = str) -> Covers:
    return lambda wide, narrow: covers_pattern(parse(fold(wide)), parse(fold(narrow)))


def _in_block(wide: str, narrow: str) -> bool:
    outer, inner = parse_block(wide), parse_block(narrow)
    if outer.version != inner.version:
        return False
    first, last = int(inner.network_address), int(inner.broadcast_address)
    return int(outer.network_address) <= first and last <= int(outer.broadcast_address)


def _same(wide: str, narrow: str) -> bool:
    return wide == narrow


def _grpc(wide: str, narrow: str) -> bool:
    return wide in {"*", narrow} or (wide.endswith("/*") and narrow.startswith(wide.removesuffix("*")))


_FIELDS: dict[str, Covers] = {
    "principals": _by(parse_principal),
    "paths": _by(parse_path),
    "hosts": _by(parse_pattern, str.lower),
    "ip_blocks": _in_block,
    "remote_ip_blocks": _in_block,
    "service_accounts": _same,
    "ports": lambda wide, narrow: wide == narrow,
    "grpc_methods": _grpc,
}
_TEXT = _by(parse_pattern)


def field_covers(name: str) -> Covers:
    """Return how two values of a field of `Source` or `Operation` compare."""
    return _FIELDS.get(name.removeprefix(_NOT), _TEXT)


def all_within(wide: Iterable[str], narrow: Iterable[str], covers: Covers) -> bool:
    """Whether each of *narrow* is covered by one of *wide*."""
    wide = tuple(wide)
    return all(any(covers(one, other) for one in wide) for other in narrow)


def _fields_cover(wide: Source | Operation, narrow: Source | Operation) -> bool:
    """Whether all that *narrow* matches is matched by *wide*, of the same class."""
    for field in fields(wide):
        ours, theirs = getattr(wide, field.name), getattr(narrow, field.name)
        if not ours:
            continue
        covers = field_covers(field.name)
        if field.name.startswith(_NOT):
            if not all_within(theirs, ours, covers):
                return False
        elif not theirs or not all_within(ours, theirs, covers):
            return False
    return True


def condition_covers(key: str) -> Covers:
    """Return how two values of the key of a condition compare."""
    compared = parse_key(key).compared
    if compared is Compared.ADDRESS:
        return _in_block
    if compared is Compared.PRINCIPAL:
        return _by(parse_principal)
    return _same if compared is Compared.PORT else _TEXT


def _condition_covers(wide: Condition, narrow: Condition) -> bool:
    if wide.key != narrow.key:
        return False
    covers = condition_covers(wide.key)
    if wide.values and not (narrow.values and all_within(wide.values, narrow.values, covers)):
        return False
    return all_within(narrow.not_values, wide.not_values, covers)


def _alternatives_cover(
    wide: Sequence[Source] | Sequence[Operation], narrow: Sequence[Source] | Sequence[Operation]
) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(any(_fields_cover(one, other) for one in wide) for other in narrow)


def covers_rule(wide: Rule, narrow: Rule) -> bool:
    """Whether *wide* matches every request that *narrow* matches; no means only that it can't be seen."""
    return (
        _alternatives_cover(wide.sources, narrow.sources)
        and _alternatives_cover(wide.operations, narrow.operations)
        and all(any(_condition_covers(one, other) for other in narrow.when) for one in wide.when)
        and set(wide.expressions) <= set(narrow.expressions)
    )


def covers_scope(wide: Policy, narrow: Policy, root_namespace: str) -> bool:
    """Whether *wide* applies to all workloads that *narrow* applies to."""
    everywhere = wide.namespace in {"", root_namespace}
    if not everywhere and wide.namespace != narrow.namespace:
        return False
    return all(narrow.selector.get(name) == value for name, value in wide.selector.items())


def uses_accounts_of_its_own(rule: Rule) -> bool:
    """Whether *rule* names service accounts without their namespace, which is the policy's own."""
    return any(
        "/" not in name
        for source in rule.sources
        for name in (*source.service_accounts, *source.not_service_accounts)
    )
