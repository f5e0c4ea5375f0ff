"""What to capture: the target of a tap."""

import re
from dataclasses import dataclass

DEFAULT_BODY_CAP_BYTES = 64 << 10
MAX_BODY_CAP_BYTES = 16 << 20
DEFAULT_CLUSTER = "envoy_tap"
DEFAULT_REDACTED_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "proxy-authorization",
        "set-cookie",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-xsrf-token",
    }
)

# RFC 9110, 5.6.2: what a header name is made of.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_NAME_CHARS = 256
# RFC 3986, 3, as far as it matters here: what paths and authorities are made of.
_VISIBLE = re.compile(r"[!-~]+")
# RFC 9110, 5.5: no value holds these. A lone surrogate (an argument that was not UTF-8) stands for no bytes at all.
_SENDABLE = re.compile(r"[^\0\r\n\ud800-\udfff]*")
# Lua's numbers are doubles: integers are exact up to here.
_MAX_EXACT = 1 << 53


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A path without its query: equal to *value* (case-sensitive), or, if *is_prefix*, beginning with it.

    Raises ValueError if no path can match: one begins with `/`, holds no `?` and is visible ASCII, the rest being
    percent-encoded (Envoy refuses any other).
    """

    value: str
    is_prefix: bool = False

    def __post_init__(self) -> None:
        if not self.value.startswith("/") or "?" in self.value:
            raise ValueError(f"{self.value!r} is not a path: one begins with / and holds no query")
        if not _VISIBLE.fullmatch(self.value):
            raise ValueError(f"{self.value!r} is not a path: percent-encode what is not visible ASCII")


@dataclass(frozen=True, slots=True)
class Target:
    """Which exchanges to capture, until when, and how much of each; a condition that is None holds for all.

    `method` is case-sensitive, `authority` is not and includes the port if the client sent one; `header` is a name
    and the exact value (values of a repeated header are joined by a comma, as Envoy does). `expires_at_s` is in unix
    seconds; from then on the proxy begins no capture, whoever is there to tell it. `body_cap_bytes` is for each of
    the two bodies, 0 to 16 MiB; the values of `redacted_headers` never leave the proxy, as headers or as trailers
    (paths and bodies do, whatever they hold). `cluster_name` is the Envoy cluster of the tap service. Raises
    ValueError for what is out of range or can match nothing.
    """

    tap_id: str
    expires_at_s: int
    method: str | None = None
    path: PathMatch | None = None
    authority: str | None = None
    header: tuple[str, str] | None = None
    body_cap_bytes: int = DEFAULT_BODY_CAP_BYTES
    redacted_headers: frozenset[str] = DEFAULT_REDACTED_HEADERS
    cluster_name: str = DEFAULT_CLUSTER

    def __post_init__(self) -> None:
        _check_name("tap_id", self.tap_id)
        _check_name("cluster_name", self.cluster_name)
        if not 0 < self.expires_at_s < _MAX_EXACT:
            raise ValueError(f"expires_at_s is unix seconds, above 0; {self.expires_at_s} is not")
        if not 0 <= self.body_cap_bytes <= MAX_BODY_CAP_BYTES:
            raise ValueError(f"body_cap_bytes is 0 to {MAX_BODY_CAP_BYTES}; {self.body_cap_bytes} is not")
        if self.method is not None and not _TOKEN.fullmatch(self.method):
            raise ValueError(f"{self.method!r} is not a method")
        if self.authority is not None and not _VISIBLE.fullmatch(self.authority):
            raise ValueError(
                f"{self.authority!r} is not an authority: a host, and a port if the client sends one"
            )
        names = self.redacted_headers if self.header is None else {*self.redacted_headers, self.header[0]}
        for name in names:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is not a header name")
        if self.header is not None and not _SENDABLE.fullmatch(self.header[1]):
            raise ValueError(
                f"{self.header[0]}: {self.header[1]!r} holds a character that no request can hold"
            )


def _check_name(field: str, name: str) -> None:
    if not 0 < len(name) <= _MAX_NAME_CHARS:
        raise ValueError(f"{field} needs 1 to {_MAX_NAME_CHARS} characters, not {len(name)}")
    if not name.isprintable():
        raise ValueError(f"{field} {name!r} holds a character that cannot be printed")
