"""How much a session takes, for how long, and what is hidden in it, as options say it."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from envoy_tap.commands.groups import LIMITS, REDACTION
from envoy_tap.commands.output import UsageError
from envoy_tap.core.session import Limits

_DEFAULT = Limits()
_DURATION = re.compile(r"([0-9]{1,6})([smh]?)")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"([0-9]{1,12})(|[KMG]i?B?)", re.IGNORECASE)
_UNIT_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@Parameter(name="*", group=LIMITS)
@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Limits, all of which the service bounds too, and redaction beyond its defaults."""

    for_: Annotated[str, Parameter(name="--for", help="How long: 90s, 10m, 2h.")] = "10m"
    exchanges: Annotated[int, Parameter(help="Most exchanges.")] = _DEFAULT.exchanges
    bytes_: Annotated[str, Parameter(name="--bytes", help="Most bytes of all: 64M, 1G.")] = "64M"
    body_bytes: Annotated[str, Parameter(help="Most bytes of each body: 64K, 16M.")] = "64K"
    rate: Annotated[int, Parameter(help="Most exchanges a second.")] = _DEFAULT.rate_per_s
    socket: Annotated[
        bool,
        Parameter(
            negative=(),
            help="The bytes of connections in place of HTTP; by envoy-tap agent alone, and hardly redacted.",
        ),
    ] = False
    redact: Annotated[
        tuple[str, ...],
        Parameter(
            negative=(),
            group=REDACTION,
            help="One more header, parameter, or JSON or form field; or a place in JSON: order.card[*].pin.",
        ),
    ] = ()
    placeholders: Annotated[
        bool,
        Parameter(
            negative=(),
            group=REDACTION,
            help="Equal secrets get equal placeholders; they are put in by the collector, not by the proxy.",
        ),
    ] = False

    def limits(self) -> dict[str, int]:
        """Return the limits as the API takes them; raises UsageError."""
        return {
            "duration_s": seconds(self.for_, "--for"),
            "exchanges": self.exchanges,
            "bytes": size_bytes(self.bytes_, "--bytes"),
            "body_bytes": size_bytes(self.body_bytes, "--body-bytes"),
            "rate_per_s": self.rate,
        }

    def redaction(self) -> dict[str, Any]:
        """Return what is hidden beyond the defaults, as the API takes it."""
        names = [each for each in self.redact if not re.search(r"[.\[]", each)]
        return {
            **dict.fromkeys(("headers", "query", "names"), names),
            "paths": [each for each in self.redact if each not in names],
            "style": "hmac" if self.placeholders else "mask",
        }


def seconds(text: str, option: str) -> int:
    """Return a duration in seconds; raises UsageError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f"{option}: {text!r} is not a duration; write 90s, 10m or 2h")
    return int(found[1]) * _UNIT_S[found[2]]


def size_bytes(text: str, option: str) -> int:
    """Return a size in bytes; K, M and G are powers of 1024; raises UsageError."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"{option}: {text!r} is not a size; write 65536, 64K or 16M")
    return int(found[1]) * _UNIT_BYTES[found[2][:1].lower()]
