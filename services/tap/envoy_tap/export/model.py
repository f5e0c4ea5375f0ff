"""What is exported, and what each format is given."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from envoy_tap.core.decode import Schema
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.record import exchange_of, summary

LOG = logging.getLogger(__name__)
T = TypeVar("T")
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


def told(entry: Entry, made: Callable[[Entry], T], failed: Callable[[Entry, str], T]) -> T:
    """Return what is *made* of *entry*; what can't be costs no other: *failed* gets in words what is wrong."""
    try:
        return made(entry)
    except Exception as error:
        LOG.exception("an exchange could not be exported")
        return failed(entry, f"exchange {entry.seq} could not be exported: {type(error).__name__}")


Writer: TypeAlias = Callable[[Iterable[Entry], About], Iterator[bytes]]
"""Writes entries as they come, so that a session need not fit into memory; raises nothing of its own."""


def entry(seq: int, stored: Mapping[str, Any]) -> Entry:
    """Return the exchange that is *stored* under *seq*."""
    exchange = exchange_of(stored)
    return Entry(seq, stored, exchange, summary(exchange, seq))
