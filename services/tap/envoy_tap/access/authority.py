"""Whom to let in, and what they may: the tokens, issuers and rules that count now, swapped as one when they change."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envoy_tap.access.jwt import Issuers
from envoy_tap.access.jwt_file import read_issuers
from envoy_tap.access.people import Person
from envoy_tap.access.rules import Rules
from envoy_tap.access.rules_file import read_rules
from envoy_tap.access.tokens import Tokens, read_tokens


@dataclass(frozen=True, slots=True)
class _Read:
    tokens: Tokens | None = None
    issuers: Issuers = field(default_factory=Issuers)
    rules: Rules = field(default_factory=Rules)


class Authority:
    """What the files of access say; raises InvalidConfigurationError for one that cannot be used."""

    def __init__(
        self, tokens: Path | None = None, issuers: Path | None = None, rules: Path | None = None
    ) -> None:
        self._tokens = tokens
        self._issuers = issuers
        self._rules = rules
        self._read = _Read()
        self.reload()

    @property
    def files(self) -> Sequence[Path]:
        """The files, to be watched."""
        return [path for path in (self._tokens, self._issuers, self._rules) if path is not None]

    @property
    def takes_tokens(self) -> bool:
        """Whether anybody needs a token."""
        return self._tokens is not None or self._issuers is not None

    @property
    def rules(self) -> Rules:
        """The rules that count now."""
        return self._read.rules

    def reload(self) -> None:
        """Read the files again; raises InvalidConfigurationError, and then what was read before counts on."""
        self._read = _Read(read_tokens(self._tokens), read_issuers(self._issuers), read_rules(self._rules))

    async def person(self, token: str) -> Person | None:
        """Return who presents *token*, None if it is nobody's."""
        read = self._read
        found = None if read.tokens is None else read.tokens.person(token)
        return found or await read.issuers.person(token)
