"""What is written down of one decision."""

from collections.abc import Mapping
from typing import NamedTuple


class Seen(NamedTuple):
    """What a policy that is not enforced found: `decision` is `allow` or `deny`, `reason` a `Reason`."""

    policy: str
    decision: str
    reason: str


class Record(NamedTuple):
    """One decision: `time_s` is in unix seconds, and `rule` counts from 0, None when no rule decided.

    `detail` is why a token was refused, or the other reading of an ambiguous request. `tokens` are the principals of
    the verified tokens. `reads` are the attributes that the deciding rule asks for, and `attributes` the values of
    those that the operator wants to see, both by their names in `when`. `observed` is what changed nothing.
    `namespace` (empty if unknown) and `labels` (None if unknown) are the workload's, and `port` (0 if unknown) and
    `sni` what the client connected to: with them a candidate set can be tried on the record.
    """

    time_s: float
    id: str
    allowed: bool
    policy: str
    rule: int | None
    reason: str
    detail: str = ""
    method: str = ""
    path: str = ""
    host: str = ""
    principal: str = ""
    address: str = ""
    namespace: str = ""
    labels: Mapping[str, str] | None = None
    port: int = 0
    sni: str = ""
    tokens: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    observed: tuple[Seen, ...] = ()
