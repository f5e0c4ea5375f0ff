"""Where a command finds limits and buckets: the options of `serve` that must be the same for it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from cyclopts import Parameter

from envoy_ratelimit.commands.output import say
from envoy_ratelimit.config import LoadedRules, load_rules
from envoy_ratelimit.core.rules import Rules
from envoy_ratelimit.core.store import BucketStore
from envoy_ratelimit.options import AlgorithmName, AlgorithmOption, ChargeOption, MergeOption, make_defaults
from envoy_ratelimit.stores import open_store
from envoy_ratelimit.stores.names import Spread
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.settings import SettingsError

STORE_TIMEOUT_S = 2.0
_MEMORY = "memory:"


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSource:
    """The limits, and the domain that is looked at."""

    config: Annotated[
        tuple[Path, ...],
        # One path each time: otherwise it would take the descriptor that follows for one more.
        Parameter(negative=(), help="A file or folder of limits, as for `serve`; once for each."),
    ]
    domain: Annotated[str, Parameter(help="The domain of Envoy's rate limit filter.")]
    merge_domains: MergeOption = False
    default_algorithm: AlgorithmOption = "token_bucket"
    default_charge: ChargeOption = None

    def load(self) -> Rules:
        """Return the limits; SettingsError if there are none that can be used. Broken files are said on stderr."""
        try:
            loaded = self._load(self.default_algorithm)
        except InvalidConfigurationError as error:
            raise SettingsError(str(error)) from None
        for finding in loaded.errors:
            say(str(finding))
        return loaded.rules

    def by_other_algorithms(self) -> Iterator[tuple[AlgorithmName, Rules]]:
        """Yield each other value of --default-algorithm, and the limits by it."""
        for name in get_args(AlgorithmName):
            if name != self.default_algorithm:
                # A limit may be none by another algorithm, such as one that takes over 100 years.
                with suppress(InvalidConfigurationError):
                    yield name, self._load(name).rules

    def _load(self, algorithm: AlgorithmName) -> LoadedRules:
        defaults = make_defaults(algorithm, self.default_charge)
        return load_rules(self.config, merge=self.merge_domains, defaults=defaults)

    def is_in(self, rules: Rules) -> bool:
        """Return whether *rules* have the domain; say which there are if not."""
        known = self.domain in rules.domains
        if not known:
            domains = ", ".join(sorted(rules.domains)) or "there is none"
            say(f"the domain {self.domain!r} is not configured: {domains}")
        return known


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStore:
    """The store that the services use, as they are told."""

    store: Annotated[str, Parameter(help="Where the services have their buckets; see `serve`.")] = ""
    store_per_second: Annotated[str, Parameter(help="Their second store, if they have one.")] = ""
    store_key_prefix: Annotated[str, Parameter(help="What they let the names of buckets begin with.")] = ""
    store_spread: Annotated[Spread, Parameter(help="How they spread buckets on a cluster.")] = "domain"

    @contextmanager
    def open(self) -> Iterator[BucketStore]:
        """Yield it. Raises SettingsError for a store that no other process sees."""
        if not self.store:
            raise SettingsError("--store is needed: where the services have their buckets")
        if self.store == _MEMORY:
            raise SettingsError(
                "--store memory: buckets are in the service's own process; ask it with `check --peek`"
            )
        try:
            store = open_store(
                self.store,
                timeout_s=STORE_TIMEOUT_S,
                per_second=self.store_per_second,
                key_prefix=self.store_key_prefix,
                spread=self.store_spread,
                denials_s=0,
            )
        except ValueError as error:
            raise SettingsError(f"--store: {error}") from None
        try:
            yield store
        finally:
            store.close()
