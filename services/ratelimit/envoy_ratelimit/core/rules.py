"""What limits there are: as they were written, and compiled into what a look-up needs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.matching import Level
from envoy_ratelimit.core.rule import KEY_FORMAT, Charge, FailurePolicy, Rate, Rule

MAX_HEAD_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as written: a `rate`, or None for unlimited; `name` is echoed to Envoy in `current_limit`.

    `replaces` are the names of limits that do not hold where this one matches the same request. `burst` is a token
    bucket's capacity. None leaves it to the Defaults, and `on_failure` to the service.
    """

    rate: Rate | None
    name: str = ""
    replaces: tuple[str, ...] = ()
    algorithm: Algorithm | None = None
    burst: int | None = None
    charge: Charge | None = None
    on_failure: FailurePolicy | None = None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One level of a domain as written: `value` "" stands for every value, `*` in it for zero or more characters.

    `detailed_metric` and `value_to_metric` put values of requests into metrics: all of the path, or this level's.
    With `share_threshold` all values that fit a pattern share one bucket. `metadata` goes to Envoy with what passes.
    """

    key: str
    value: str = ""
    limit: Limit | None = None
    shadow_mode: bool = False
    descriptors: tuple["Descriptor", ...] = ()
    quota_mode: bool = False
    detailed_metric: bool = False
    value_to_metric: bool = False
    share_threshold: bool = False
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as written."""

    name: str
    descriptors: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every limit that does not say otherwise.

    `charge` None means as the reference does for fixed windows by default (ALWAYS), else ALL_OR_NOTHING.
    `shadow_mode` makes no limit refuse.
    """

    algorithm: Algorithm = Algorithm.TOKEN_BUCKET
    charge: Charge | None = None
    shadow_mode: bool = False

    def charge_of(self, limit: Limit | None = None) -> Charge:
        """Return the charge mode of a limit, or of one in a request."""
        if limit is not None and limit.charge is not None:
            return limit.charge
        if self.charge is not None:
            return self.charge
        written = limit is not None and (limit.algorithm is not None or limit.burst is not None)
        drop_in = self.algorithm is Algorithm.FIXED_WINDOW and not written
        return Charge.ALWAYS if drop_in else Charge.ALL_OR_NOTHING


AS_WRITTEN = Defaults()
"""Token buckets, all or nothing."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled configuration: the matching tree of each domain, and all rules in the order they were written.

    `replacing` are the domains in which a limit replaces another.
    """

    domains: Mapping[str, Level] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    defaults: Defaults = AS_WRITTEN
    replacing: frozenset[str] = frozenset()

    def describe(self) -> list[dict[str, object]]:
        """Return the rules as plain data, in the order they were written; what is as usual is left out."""
        return [_described(rule) for rule in self.rules]


def _described(rule: Rule) -> dict[str, object]:
    unusual = {
        "algorithm": "" if rule.algorithm is Algorithm.TOKEN_BUCKET else rule.algorithm.value,
        "burst": rule.burst,
        "charge": "" if rule.charge is Charge.ALL_OR_NOTHING else rule.charge.value,
        "quota_mode": rule.quota_mode,
        "replaces": sorted(rule.replaces),
        "on_store_failure": rule.on_failure and rule.on_failure.value,
        "metadata": rule.metadata and dict(rule.metadata),
    }
    return {
        "domain": rule.domain,
        "path": rule.path,
        "name": rule.name,
        "limit": "unlimited" if rule.rate is None else str(rule.rate),
        "shadow_mode": rule.shadow_mode,
        **{key: value for key, value in unusual.items() if value},
    }


def compile_rules(domains: Iterable[Domain], defaults: Defaults = AS_WRITTEN) -> Rules:
    """Compile domains; ValueError for a domain, or a key and value on one level, that comes twice."""
    trees: dict[str, Level] = {}
    rules: list[Rule] = []
    for domain in domains:
        if domain.name in trees:
            raise ValueError(f"the domain {domain.name!r} comes twice")
        trees[domain.name] = _Compiler(domain.name, rules, defaults).level(domain.descriptors)
    replacing = frozenset(rule.domain for rule in rules if rule.replaces)
    return Rules(trees, tuple(rules), defaults, replacing)


@dataclass(frozen=True, slots=True)
class _Path:
    """The way down to a descriptor: for people, for the bucket key, and the positions of the values that vary."""

    parts: tuple[str, ...] = ()
    key: str = ""
    variable: tuple[int, ...] = ()
    labelled: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        return ".".join(self.parts)

    def down(self, descriptor: Descriptor) -> "_Path":
        key, value = descriptor.key, descriptor.value
        depth = (len(self.parts),)
        varies = (not value or "*" in value) and not descriptor.share_threshold
        kind = "?" if not value else "*" if varies else "=" if "*" not in value else "~"
        return _Path(
            (*self.parts, f"{key}_{value}" if value else key),
            self.key + kind + measured(key) + (measured(value) if value else ""),
            self.variable + depth if varies else self.variable,
            self.labelled + depth if varies and descriptor.value_to_metric else self.labelled,
        )


class _Compiler:
    """Compiles one domain, adding its rules to a list that all domains share."""

    def __init__(self, domain: str, rules: list[Rule], defaults: Defaults) -> None:
        self._domain = domain
        self._rules = rules
        self._defaults = defaults
        head = len(key_head(domain))
        self._fixed_characters = head if head <= MAX_HEAD_CHARACTERS else 0

    def level(
        self, descriptors: tuple[Descriptor, ...], path: _Path = _Path(), rule: Rule | None = None
    ) -> Level:
        level = Level(rule)
        seen: set[tuple[str, str]] = set()
        for descriptor in descriptors:
            key, value = descriptor.key, descriptor.value
            down = path.down(descriptor)
            if (key, value) in seen:
                raise ValueError(f"{down.label!r} comes twice in the domain {self._domain!r}")
            seen.add((key, value))
            below = self.level(descriptor.descriptors, down, self._rule(descriptor, down))
            if not value:
                level.bare[key] = below
            else:
                # The reference finds a pattern's own text exactly, so that goes before other patterns here as well.
                level.exact[key, value] = below
                if "*" in value:
                    level.wildcards.setdefault(key, []).append((tuple(value.split("*")), below))
        return level

    def _rule(self, descriptor: Descriptor, path: _Path) -> Rule | None:
        limit = descriptor.limit
        if limit is None:
            return None
        defaults = self._defaults
        algorithm = limit.algorithm or (Algorithm.TOKEN_BUCKET if limit.burst else defaults.algorithm)
        rule = Rule(
            domain=self._domain,
            path=path.label,
            rate=limit.rate,
            name=limit.name,
            shadow_mode=descriptor.shadow_mode or defaults.shadow_mode,
            shadowed_by_service=defaults.shadow_mode and not descriptor.shadow_mode,
            key_prefix=key_prefix(self._domain, limit.rate, path.key, algorithm, limit.burst),
            variable=path.variable,
            algorithm=algorithm,
            burst=limit.burst,
            charge=defaults.charge_of(limit),
            quota_mode=descriptor.quota_mode,
            replaces=frozenset(limit.replaces),
            on_failure=limit.on_failure,
            metadata=descriptor.metadata,
            labelled=path.variable if descriptor.detailed_metric else path.labelled,
            parts=path.parts,
            fixed_characters=self._fixed_characters,
        )
        self._rules.append(rule)
        return rule


def key_prefix(
    domain: str,
    rate: Rate | None,
    path: str,
    algorithm: Algorithm = Algorithm.TOKEN_BUCKET,
    burst: int | None = None,
) -> str:
    """Begin a bucket key: with all of the limit in it, one that was changed starts from new buckets."""
    kind = "" if algorithm is Algorithm.TOKEN_BUCKET else f"~{algorithm.value}"
    size = "" if burst is None else f"^{burst}"
    return f"{key_head(domain)}{rate}{size}{kind}|{path}|"


def key_head(domain: str) -> str:
    """Begin the names of a domain's buckets; also one that is shortened begins so, unless this is long itself."""
    return f"{KEY_FORMAT}|{measured(domain)}|"


def measured(text: str) -> str:
    """Return *text* after its length, so that texts put in a row can be told apart."""
    return f"{len(text)}:{text}"
