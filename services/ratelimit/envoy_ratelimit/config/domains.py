"""One YAML document to one domain, as the reference reads it (envoyproxy/ratelimit, README, "Configuration").

Keys that the reference does not have are in `limits.py`, as is all of `rate_limit`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envoy_ratelimit.config.limits import read_limit
from envoy_ratelimit.config.texts import fields_of, flag, required_text, text
from envoy_ratelimit.core.rules import Descriptor, Domain
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Position
from envoy_sidecar.config.strict import Reader

_DOMAIN = ("domain", "descriptors")
_WITH_LIMIT = ("shadow_mode", "quota_mode", "detailed_metric", "metadata")
_DESCRIPTOR = (
    "key",
    "value",
    "rate_limit",
    *_WITH_LIMIT,
    "value_to_metric",
    "share_threshold",
    "descriptors",
)


@dataclass(frozen=True, slots=True)
class Part:
    """A domain as one document has it: its name stands at `position`, its limits replace those called `replaced`."""

    domain: Domain
    position: Position
    replaced: tuple[Node, ...] = ()


def read_part(document: Node, reader: Reader) -> Part:
    """Return what *document* says of a domain; not to be used when the reader found an error."""
    fields = fields_of(document, _DOMAIN, reader)
    name = required_text(document, fields, "domain", reader)
    descriptors = fields.get("descriptors")
    at = document.get("domain") or document
    return Part(Domain(name, _descriptors(descriptors, reader)), at.position, tuple(_replaced(descriptors)))


def warn_of_unknown(parts: Sequence[Part], reader: Reader) -> None:
    """Report each name to be replaced that no limit has; *parts* are all of one domain."""
    names = {
        descriptor.limit.name
        for part in parts
        for descriptor in _all(part.domain.descriptors)
        if descriptor.limit
    }
    for part in parts:
        for node in part.replaced:
            if isinstance(node.scalar, str) and node.scalar and node.scalar not in names:
                message = f"no limit of this domain is called {node.scalar!r}"
                reader.warn(node, message, "write the name of one")


def _descriptors(node: Node | None, reader: Reader) -> tuple[Descriptor, ...]:
    descriptors = []
    firsts: dict[tuple[str, str], Node] = {}
    for item in reader.items(node):
        descriptor = _descriptor(item, reader)
        descriptors.append(descriptor)
        first = firsts.get((descriptor.key, descriptor.value))
        if first is None:
            firsts[descriptor.key, descriptor.value] = item
        elif descriptor.key:
            what = f"key {descriptor.key!r}" + (
                f" with value {descriptor.value!r}" if descriptor.value else ""
            )
            # An alias stands where its anchor does, and over xDS all stands in one place.
            apart = first.position != item.position
            where = f"in line {first.position.line}" if apart else first.path
            reader.report(item, f"{what} comes twice on this level", f"the first is {where}; remove one")
    return tuple(descriptors)


def _descriptor(node: Node, reader: Reader) -> Descriptor:
    fields = fields_of(node, _DESCRIPTOR, reader)
    limit, metadata, share = fields.get("rate_limit"), fields.get("metadata"), fields.get("share_threshold")
    for key in _WITH_LIMIT:
        if key in fields and "rate_limit" not in fields:
            reader.warn(
                fields[key], "does nothing without a rate_limit", "write it beside the rate_limit it is for"
            )
    value = text(fields["value"], reader) if "value" in fields else ""
    shares = flag(share, reader)
    if share is not None and shares and "*" not in value:
        reader.report(
            share, "only the values of a pattern can share a limit", "write a value with `*`, or remove it"
        )
    if metadata is not None and metadata.mapping is None:
        reader.report(metadata, f"must be a mapping, is {metadata.kind}", "write it as `key: value`")
    shadow, quota = fields.get("shadow_mode"), fields.get("quota_mode")
    in_shadow, in_quota = flag(shadow, reader), flag(quota, reader)
    if quota is not None and in_shadow and in_quota:
        reader.warn(quota, "does nothing in shadow_mode", "remove one of both")
    plain = metadata.plain() if metadata is not None else None
    return Descriptor(
        key=required_text(node, fields, "key", reader),
        value=value,
        limit=read_limit(limit, reader) if limit is not None else None,
        shadow_mode=in_shadow,
        descriptors=_descriptors(fields.get("descriptors"), reader),
        quota_mode=in_quota,
        detailed_metric=flag(fields.get("detailed_metric"), reader),
        value_to_metric=flag(fields.get("value_to_metric"), reader),
        share_threshold=shares,
        metadata=plain if isinstance(plain, dict) else None,
    )


def _all(descriptors: tuple[Descriptor, ...]) -> Iterator[Descriptor]:
    for descriptor in descriptors:
        yield descriptor
        yield from _all(descriptor.descriptors)


def _replaced(descriptors: Node | None) -> Iterator[Node]:
    """Yield each name that a `replaces` below has."""
    for descriptor in (descriptors.sequence or ()) if descriptors is not None else ():
        limit = descriptor.get("rate_limit")
        replaces = limit.get("replaces") if limit is not None else None
        for item in (replaces.sequence or ()) if replaces is not None else ():
            name = item.get("name")
            if name is not None:
                yield name
        yield from _replaced(descriptor.get("descriptors"))
