"""One `rate_limit`: the reference's keys, and ours (algorithm, burst, charge, unit_multiplier, on_store_failure)."""

from envoy_ratelimit.config.texts import fields_of, flag, one_of, required_text, text
from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.rule import Charge, FailurePolicy, Rate, Unit
from envoy_ratelimit.core.rules import Limit
from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, MICROSECONDS
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.strict import Reader

MAX_REQUESTS_PER_UNIT = 2**32 - 1
"""The reference's and Envoy's own field is a uint32."""
MAX_YEARS = MAX_SPAN_US // (365 * 86_400 * MICROSECONDS)

_COUNTED = ("requests_per_unit", "unit_multiplier", "algorithm", "burst", "charge", "on_store_failure")
_RATE_LIMIT = ("unit", "unlimited", "name", "replaces", *_COUNTED)
_UNITS = {unit.name.lower(): unit for unit in Unit}
_ALGORITHMS = tuple(algorithm.value for algorithm in Algorithm)
_CHARGES = tuple(charge.value for charge in Charge)
_POLICIES = tuple(policy.value for policy in FailurePolicy)


def read_limit(node: Node, reader: Reader) -> Limit:
    """Return the limit of a `rate_limit`; not to be used when the reader found an error."""
    fields = fields_of(node, _RATE_LIMIT, reader)
    name = text(fields["name"], reader) if "name" in fields else ""
    replaces = _replaces(fields.get("replaces"), name, reader)
    algorithm = one_of(fields.get("algorithm"), _ALGORITHMS, reader)
    charge = one_of(fields.get("charge"), _CHARGES, reader)
    policy = one_of(fields.get("on_store_failure"), _POLICIES, reader)
    burst = _positive(fields["burst"], reader) if "burst" in fields else None
    rate = _rate(node, fields, reader)
    if rate is not None:
        _check_size(node, fields, rate, reader)
    return Limit(
        rate,
        name,
        replaces,
        algorithm=Algorithm(algorithm) if algorithm else None,
        burst=burst,
        charge=Charge(charge) if charge else None,
        on_failure=FailurePolicy(policy) if policy else None,
    )


def _rate(node: Node, fields: dict[str, Node], reader: Reader) -> Rate | None:
    unit, requests, multiplier = (fields.get(key) for key in ("unit", "requests_per_unit", "unit_multiplier"))
    count = reader.whole(requests, MAX_REQUESTS_PER_UNIT) if requests is not None else 0
    units = _positive(multiplier, reader) if multiplier is not None else 1
    if flag(fields.get("unlimited"), reader):
        if unit is not None:
            reader.report(unit, "an unlimited rate_limit has no unit", "remove `unit`, or `unlimited`")
        for key in _COUNTED:
            if key in fields:
                reader.warn(fields[key], "does nothing beside `unlimited`", "remove one of both")
        return None
    if unit is None and node.mapping is not None and "unit" not in node.mapping:
        reader.report(node, "unit is missing", f"write one of {', '.join(_UNITS)}")
    if requests is None and node.mapping is not None:
        message = "requests_per_unit is missing, so every request is refused"
        reader.warn(node, message, "write it, or 0 to say so")
    return Rate(count, _unit(unit, reader) if unit is not None else Unit.SECOND, units)


def _check_size(node: Node, fields: dict[str, Node], rate: Rate, reader: Reader) -> None:
    burst = fields.get("burst")
    algorithm = fields.get("algorithm")
    if rate.period_us > MAX_SPAN_US:
        where = fields.get("unit_multiplier", node)
        reader.report(
            where, f"the limit is for more than {MAX_YEARS} years", "write a smaller unit_multiplier"
        )
    if burst is None:
        return
    if algorithm is not None and algorithm.scalar in set(_ALGORITHMS) - {Algorithm.TOKEN_BUCKET}:
        reader.report(
            burst, f"a {algorithm.scalar} has no burst", "remove it, or write `algorithm: token_bucket`"
        )
    elif rate.requests_per_unit == 0:
        reader.warn(burst, "does nothing where requests_per_unit is 0", "remove it")
    elif (
        isinstance(burst.scalar, int) and burst.scalar * rate.period_us > MAX_SPAN_US * rate.requests_per_unit
    ):
        reader.report(
            burst, f"such a bucket takes more than {MAX_YEARS} years to fill", "write a smaller number"
        )


def _replaces(node: Node | None, own: str, reader: Reader) -> tuple[str, ...]:
    names = []
    for item in reader.items(node):
        fields = reader.valued(item, reader.fields(item, ("name",)))
        name = required_text(item, fields, "name", reader)
        if name and name == own:
            reader.report(fields["name"], "a limit cannot replace itself", "write the name of another one")
        names.append(name)
    return tuple(names)


def _positive(node: Node, reader: Reader) -> int:
    number = reader.whole(node, MAX_REQUESTS_PER_UNIT)
    if node.scalar == 0 and not isinstance(node.scalar, bool):
        reader.report(node, "0 is out of range", f"write a whole number from 1 to {MAX_REQUESTS_PER_UNIT}")
    return number or 1


def _unit(node: Node, reader: Reader) -> Unit:
    found = text(node, reader)
    unit = _UNITS.get(found.lower())
    if unit is None and (found or node.scalar == ""):
        reader.report(node, f"unknown unit {found!r}", f"write one of {', '.join(_UNITS)}")
    return unit or Unit.SECOND
