"""Descriptors as they are typed: `key=value key2=value2`, several with a `+` between; and a limit they bring along."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from envoy_ratelimit.core.rule import Entry, Rate
from envoy_ratelimit.wire import OVERRIDE_UNITS
from envoy_sidecar.settings import SettingsError

DescriptorArguments = Annotated[
    tuple[str, ...],
    Parameter(
        help="key=value for each entry of the descriptor, in order; a + begins the next descriptor.",
        negative=(),
        show_default=False,
    ),
]
OverrideOption = Annotated[
    str,
    Parameter(
        help="A limit that the request brings along, as by Envoy's limit override, such as 10/minute; the files' do not "
        "hold then."
    ),
]
_NEXT = "+"
_MAX_REQUESTS = 2**32 - 1


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


def read_override(text: str) -> Rate | None:
    """Return the limit that *text* is, None if it is empty. Raises SettingsError."""
    if not text:
        return None
    requests, _, name = text.partition("/")
    units = {unit.name.lower(): unit for unit in OVERRIDE_UNITS.values()}
    unit = units.get(name.lower())
    if unit is None or not (requests.isascii() and requests.isdecimal()) or int(requests) > _MAX_REQUESTS:
        raise SettingsError(
            f"--override {text!r}: write REQUESTS/UNIT, such as 10/minute; REQUESTS is from 0 to {_MAX_REQUESTS}, "
            f"UNIT one of {', '.join(units)}"
        )
    return Rate(int(requests), unit)


def written(entries: Sequence[Entry]) -> str:
    """Return a descriptor as it is typed."""
    return " ".join(f"{key}={value}" if value else key for key, value in entries)
