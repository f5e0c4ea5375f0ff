"""What limits there are: as they were written, and compiled into what a look-up needs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from envoy_ratelimit.core.matching import Level
from envoy_ratelimit.core.rule import KEY_FORMAT, Rate, Rule


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as written: a `rate`, or None for unlimited; `name` is echoed to Envoy in `current_limit`."""

    rate: Rate | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One level of a domain as written: `value` "" stands for every value, `*` in it for zero or more characters."""

    key: str
    value: str = ""
    limit: Limit | None = None
    shadow_mode: bool = False
    descriptors: tuple["Descriptor", ...] = ()


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as written."""

    name: str
    descriptors: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled configuration: the matching tree of each domain, and all rules in the order they were written."""

    domains: Mapping[str, Level] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def describe(self) -> list[dict[str, object]]:
        """Return the rules as plain data, in the order they were written."""
        return [
            {
                "domain": rule.domain,
                "path": rule.path,
                "name": rule.name,
                "limit": "unlimited" if rule.rate is None else str(rule.rate),
                "shadow_mode": rule.shadow_mode,
            }
            for rule in self.rules
        ]


def compile_rules(domains: Iterable[Domain]) -> Rules:
    """Compile domains; ValueError for a domain, or a key and value on one level, that comes twice."""
    trees: dict[str, Level] = {}
    rules: list[Rule] = []
    for domain in domains:
        if domain.name in trees:
            raise ValueError(f"the domain {domain.name!r} comes twice")
        trees[domain.name] = _Compiler(domain.name, rules).level(domain.descriptors)
    return Rules(trees, tuple(rules))


@dataclass(frozen=True, slots=True)
class _Path:
    """The way down to a descriptor: for people, for the bucket key, and the positions of the values that vary."""

    label: str = ""
    key: str = ""
    variable: tuple[int, ...] = ()
    depth: int = 0

    def down(self, descriptor: Descriptor) -> "_Path":
        key, value = descriptor.key, descriptor.value
        label = f"{key}_{value}" if value else key
        varies = not value or "*" in value
        kind = "=" if not varies else "*" if value else "?"
        return _Path(
            f"{self.label}.{label}" if self.label else label,
            self.key + kind + measured(key) + (measured(value) if value else ""),
            (*self.variable, self.depth) if varies else self.variable,
            self.depth + 1,
        )


class _Compiler:
    """Compiles one domain, adding its rules to a list that all domains share."""

    def __init__(self, domain: str, rules: list[Rule]) -> None:
        self._domain = domain
        self._rules = rules

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
        rule = Rule(
            domain=self._domain,
            path=path.label,
            rate=limit.rate,
            name=limit.name,
            shadow_mode=descriptor.shadow_mode,
            key_prefix=key_prefix(self._domain, limit.rate, path.key),
            variable=path.variable,
        )
        self._rules.append(rule)
        return rule


def key_prefix(domain: str, rate: Rate | None, path: str) -> str:
    """Begin a bucket key: with the rate in it, a limit that was changed starts from full buckets."""
    return f"{KEY_FORMAT}|{measured(domain)}|{rate}|{path}|"


def measured(text: str) -> str:
    """Return *text* after its length, so that texts put in a row can be told apart."""
    return f"{len(text)}:{text}"
