"""Descriptors as they are typed: `key=value key2=value2`, several of them with a `+` between."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from envoy_ratelimit.core.rule import Entry
from envoy_sidecar.settings import SettingsError

DescriptorArguments = Annotated[
    tuple[str, ...],
    Parameter(
        help="key=value for each entry of the descriptor, in order; a + begins the next descriptor.",
        negative=(),
        show_default=False,
    ),
]
_NEXT = "+"


def read_descriptors(arguments: Sequence[str]) -> list[tuple[Entry, ...]]:
    """Return the descriptors that *arguments* are. Raises SettingsError."""
    descriptors: list[list[Entry]] = [[]]
    for argument in arguments:
        if argument == _NEXT:
            descriptors.append([])
            continue
        key, _, value = argument.partition("=")
        if not key:
            raise SettingsError(f"{argument!r}: write key=value")
        descriptors[-1].append((key, value))
    if not all(descriptors):
        raise SettingsError("write a descriptor: key=value for each of its entries")
    return [tuple(entries) for entries in descriptors]


def written(entries: Sequence[Entry]) -> str:
    """Return a descriptor as it is typed."""
    return " ".join(f"{key}={value}" if value else key for key, value in entries)
