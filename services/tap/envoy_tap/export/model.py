"""What is exported, and what each format is given."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from envoy_tap.core.decode import Schema
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.record import exchange_of, summary

_FLAGS = {
    "truncated": "truncated: a body or the headers are shorter than what was sent",
    "incomplete": "incomplete: a half or an end was not captured",
    "redacted": "redacted: secrets were replaced before this was stored",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One exchange: as it is stored, as a value, and its summary (`core.record.summary`)."""

    seq: int
    stored: Mapping[str, Any]
    exchange: Exchange
    summary: Mapping[str, Any]

    @property
    def caveats(self) -> list[str]:
        """What must be known about it, each in words."""
        return [_FLAGS.get(flag, flag) for flag in self.summary["flags"]]


@dataclass(frozen=True, slots=True)
class About:
    """The session that it is of, and what made the export; *schema* knows gRPC messages."""

    session_id: str
    why: str = ""
    predicate: str = ""
    version: str = ""
    schema: Schema | None = None

    @property
    def title(self) -> str:
        """One line on it."""
        return f"tap session {self.session_id}: {self.why} ({self.predicate})"


Writer: TypeAlias = Callable[[Iterable[Entry], About], Iterator[bytes]]
"""Writes entries as they come, so that a session need not fit into memory; raises nothing of its own."""


def entry(seq: int, stored: Mapping[str, Any]) -> Entry:
    """Return the exchange that is *stored* under *seq*."""
    exchange = exchange_of(stored)
    return Entry(seq, stored, exchange, summary(exchange, seq))
