"""One YAML document to one domain, as the reference reads it (envoyproxy/ratelimit, README, "Configuration").

What the reference or our own plan defines and this service does not do yet is refused: a limit that is counted in
another way than it was written does not hold.
"""

from envoy_ratelimit.core.rule import Rate, Unit
from envoy_ratelimit.core.rules import Descriptor, Domain, Limit
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Position
from envoy_sidecar.config.strict import Reader

MAX_REQUESTS_PER_UNIT = 2**32 - 1
"""The reference's and Envoy's own field is a uint32."""

_DOMAIN = ("domain", "descriptors")
_DESCRIPTOR = ("key", "value", "rate_limit", "shadow_mode", "descriptors")
_DESCRIPTOR_LATER = {
    "quota_mode": "remove it: the limit would refuse requests by itself, which it must not",
    "detailed_metric": "remove it: metrics are by rule, without values of requests",
    "value_to_metric": "remove it: metrics are by rule, without values of requests",
    "share_threshold": "remove it: each value that fits the pattern would have a bucket of its own",
    "metadata": "remove it: responses have no dynamic metadata",
}
_RATE_LIMIT = ("unit", "requests_per_unit", "unlimited", "name")
_RATE_LIMIT_LATER = {
    "replaces": "remove it: the limits that it names would hold as well",
    "algorithm": "remove it: limits are token buckets",
    "burst": "remove it: a bucket holds the requests of one unit",
    "unit_multiplier": "remove it, and write the limit for a whole unit",
    "on_store_failure": "remove it: --on-store-failure says it for all limits",
}
_UNITS = {unit.name.lower(): unit for unit in Unit}


def read_domain(document: Node, reader: Reader) -> Domain:
    """Return the domain of *document*; not to be used when the reader found an error."""
    fields = reader.valued(document, reader.fields(document, _DOMAIN))
    name = _required_text(document, fields, "domain", reader)
    return Domain(name, _descriptors(fields.get("descriptors"), reader))


def _descriptors(node: Node | None, reader: Reader) -> tuple[Descriptor, ...]:
    descriptors = []
    first: dict[tuple[str, str], Position] = {}
    for item in reader.items(node):
        descriptor = _descriptor(item, reader)
        descriptors.append(descriptor)
        same = first.setdefault((descriptor.key, descriptor.value), item.position)
        if descriptor.key and same is not item.position:
            what = f"key {descriptor.key!r}" + (
                f" with value {descriptor.value!r}" if descriptor.value else ""
            )
            reader.report(
                item, f"{what} comes twice on this level", f"the first is in line {same.line}; remove one"
            )
    return tuple(descriptors)


def _descriptor(node: Node, reader: Reader) -> Descriptor:
    fields = reader.valued(node, reader.fields(node, _DESCRIPTOR, _DESCRIPTOR_LATER))
    value, limit, shadow = fields.get("value"), fields.get("rate_limit"), fields.get("shadow_mode")
    if shadow is not None and "rate_limit" not in fields:
        reader.warn(shadow, "does nothing without a rate_limit", "write it beside the rate_limit it is for")
    return Descriptor(
        key=_required_text(node, fields, "key", reader),
        value=_text(value, reader) if value is not None else "",
        limit=_limit(limit, reader) if limit is not None else None,
        shadow_mode=reader.flag(shadow),
        descriptors=_descriptors(fields.get("descriptors"), reader),
    )


def _limit(node: Node, reader: Reader) -> Limit:
    fields = reader.valued(node, reader.fields(node, _RATE_LIMIT, _RATE_LIMIT_LATER))
    unit, requests = fields.get("unit"), fields.get("requests_per_unit")
    name = _text(fields["name"], reader) if "name" in fields else ""
    if reader.flag(fields.get("unlimited")):
        if unit is not None:
            reader.report(unit, "an unlimited rate_limit has no unit", "remove `unit`, or `unlimited`")
        if requests is not None:
            reader.warn(requests, "does nothing beside `unlimited`", "remove one of both")
        return Limit(None, name)
    if unit is None and node.mapping is not None and "unit" not in node.mapping:
        reader.report(node, "unit is missing", f"write one of {', '.join(_UNITS)}")
    if requests is None and node.mapping is not None and "requests_per_unit" not in node.mapping:
        reader.report(node, "requests_per_unit is missing", "write 0 to refuse every request")
    rate = Rate(
        reader.whole(requests, MAX_REQUESTS_PER_UNIT) if requests is not None else 0,
        _unit(unit, reader) if unit is not None else Unit.SECOND,
    )
    return Limit(rate, name)


def _unit(node: Node, reader: Reader) -> Unit:
    text = _text(node, reader)
    unit = _UNITS.get(text.lower())
    if unit is None and isinstance(node.scalar, str):
        reader.report(node, f"unknown unit {text!r}", f"write one of {', '.join(_UNITS)}")
    return unit or Unit.SECOND


def _required_text(node: Node, fields: dict[str, Node], key: str, reader: Reader) -> str:
    field = fields.get(key)
    if field is None:
        if node.mapping is not None and key not in node.mapping:
            reader.report(node, f"{key} is missing", f"write `{key}: …`")
        return ""
    text = _text(field, reader)
    if field.scalar == "":
        reader.report(field, f"{key} must not be empty")
    return text


def _text(node: Node, reader: Reader) -> str:
    """Return a text; whole numbers and booleans may stand without quotes, as the reference has it.

    They are taken only as they are spelled: 0x10 is not the text "16".
    """
    if isinstance(node.scalar, int) and node.written == str(node.scalar).lower():
        return node.written
    return reader.text(node)
