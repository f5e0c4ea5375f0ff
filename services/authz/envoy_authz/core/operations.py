"""`to.operation` turned into tests, but for the path patterns, which are what an index is made of."""

from functools import lru_cache

from envoy_authz.core.checks import Check, Named, negated, on
from envoy_authz.core.facts import Facts, lower
from envoy_authz.core.patterns import Kind, Pattern, any_of, parse_path, parse_pattern
from envoy_authz.core.policy import Operation, Patterns
from envoy_authz.core.readings import host_readings

_METHODS_AND_HOSTS = ("method", "host")


def operation_tests(operation: Operation, *, careful: bool, every_host: bool = False) -> tuple[Named, ...]:
    """Return the tests of *operation* beside its `paths`; see `conditions` for *careful*.

    With *every_host*, `notHosts` says no to every way in which a host may be read.
    """
    tests: list[Named] = []
    hosts, not_hosts = (tuple(map(lower, texts)) for texts in (operation.hosts, operation.not_hosts))
    for key, wanted, unwanted in (
        ("method", operation.methods, operation.not_methods),
        ("host", hosts, not_hosts),
    ):
        if wanted:
            tests.append(Named(key, _on(key, wanted)))
        if unwanted:
            named = _any_reading(_on(key, unwanted)) if every_host and key == "host" else _on(key, unwanted)
            tests.append(Named("", negated(named)))
    if operation.not_paths:
        not_paths = any_of([parse_path(text) for text in operation.not_paths])
        tests.append(Named("", negated(on("path", not_paths))))
    if operation.ports:
        tests.append(Named("", _ports(operation.ports)))
    if operation.not_ports:
        tests.append(Named("", negated(_ports(operation.not_ports))))
    if operation.grpc_methods:
        tests.append(Named("", _grpc(operation.grpc_methods, careful=careful)))
    if operation.not_grpc_methods:
        tests.append(Named("", negated(_grpc(operation.not_grpc_methods, careful=not careful))))
    return tuple(tests)


def operation_keys(operation: Operation) -> dict[str, frozenset[str]]:
    """Return the only methods and hosts that *operation* can match, where they can be listed."""
    hosts = tuple(map(lower, operation.hosts))
    keys: dict[str, frozenset[str]] = {}
    for key, texts in zip(_METHODS_AND_HOSTS, (operation.methods, hosts), strict=True):
        patterns = [parse_pattern(text) for text in texts]
        if patterns and all(pattern.kind is Kind.EXACT for pattern in patterns):
            keys[key] = frozenset(pattern.text for pattern in patterns)
    return keys


def grpc_pattern(text: str) -> Pattern:
    """Read `package.Service/Method`, `package.Service/*` or `*`; raises ValueError for anything else."""
    if text == "*":
        return Pattern(Kind.PREFIX, "/")
    service, slash, method = text.partition("/")
    if not service or not slash or not method or "*" in service or "/" in method:
        raise ValueError(f"{text!r} is not a gRPC method")
    if method == "*":
        return Pattern(Kind.PREFIX, f"/{service}/")
    if "*" in method:
        raise ValueError(f"{text!r} has a `*` that is not the whole method")
    return Pattern(Kind.EXACT, f"/{text}")


def _grpc(texts: Patterns, *, careful: bool) -> Check:
    """Return a test of the gRPC method, which is the path.

    A DENY does not ask whether the call says that it is gRPC: the header may be left out, and the upstream may not ask.
    """
    test = any_of([grpc_pattern(text) for text in texts])
    if not careful:
        return lambda facts: test(facts.path)
    return lambda facts: test(facts.path) and facts.method == "POST" and facts.is_grpc


def _any_reading(check: Check) -> Check:
    def test(facts: Facts) -> bool:
        return check(facts) or any(check(facts.at_host(host)) for host in host_readings(facts.host))

    return test


def _ports(ports: tuple[int, ...]) -> Check:
    wanted = frozenset(ports)

    def check(facts: Facts) -> bool:
        return facts.request.destination_port in wanted

    return check


# Thousands of rules ask for the same few methods: one test for all of them stays in the processor's cache.
@lru_cache(maxsize=1024)
def _on(key: str, texts: Patterns) -> Check:
    return on(key, any_of([parse_pattern(text) for text in texts]))
