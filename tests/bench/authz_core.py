"""`python -m tests.bench.authz_core`: what a decision costs by itself, with few and with many policies, and a token."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from envoy_authz.authenticators.model import JwtRule, RequestAuthentication
from envoy_authz.authenticators.request_authentication import RequestAuthenticator
from envoy_authz.core import Operation, Policy, PolicySet, Request, Rule, Source
from envoy_authz.tokens.sources import KeyRing
from tests.authz.tokens.minting import ISSUER, JWKS, claims, token

_DECISIONS = 5_000
_TOKENS = 400
_PRIME = 7919
T = TypeVar("T")
Count = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=100_000))]

app = App(name="authz_core", help="Measure decisions of the authz core, and the verification of tokens.")


@app.default
def measure(*, rounds: Count = 5, most: Count = 10_000) -> int:
    """Print medians, the best of so many rounds; exit code 0."""
    console = Console()
    counts = [count for count in (100, 1_000, 10_000) if count <= most]
    table = Table("policies", *(name for name in SHAPES), "compiled in s")
    first: dict[str, float] = {}
    for count in counts:
        row, compiled_s = [], 0.0
        for name, shape in SHAPES.items():
            begun = time.perf_counter()
            policies = PolicySet(shape(number) for number in range(count))
            compiled_s += time.perf_counter() - begun
            requests = [_request(step * _PRIME % count) for step in range(_DECISIONS)]
            if not all(policies.decide(request).allowed for request in requests):
                console.print(f"{name}: something is denied", style="bold red")
                return 1
            us = _median_us(policies.evaluate, requests, rounds)
            row.append(f"{us:.2f} µs ({us / first.setdefault(name, us):.2f} x)")
        table.add_row(f"{count:,}", *row, f"{compiled_s / len(SHAPES):.2f}")
    console.print(table)
    console.print(_tokens(rounds))
    return 0


def _source(number: int) -> Source:
    return Source(principals=(f"cluster.local/ns/n{number % 50}/sa/s{number}",))


def _by_path_and_principal(number: int) -> Policy:
    paths = (f"/api/v1/s{number}/*", f"/api/v1/s{number}")
    return Policy(
        f"p{number}", rules=(Rule((_source(number),), (Operation(methods=("GET",), paths=paths),)),)
    )


def _by_host_and_principal(number: int) -> Policy:
    operation = Operation(methods=("GET",), hosts=(f"s{number}.example",), paths=("/api/*",))
    return Policy(f"p{number}", rules=(Rule((_source(number),), (operation,)),))


SHAPES: dict[str, Callable[[int], Policy]] = {
    "by path and principal": _by_path_and_principal,
    "by host and principal": _by_host_and_principal,
}


def _request(number: int) -> Request:
    return Request(
        "GET",
        f"/api/v1/s{number}/orders",
        f"spiffe://cluster.local/ns/n{number % 50}/sa/s{number}",
        host=f"s{number}.example",
        request_headers={"x-team": "blue", "accept": "*/*"},
    )


def _tokens(rounds: int) -> Table:
    rule = JwtRule(ISSUER, jwks=JWKS)
    document = RequestAuthentication("bench", rules=(rule,))
    table = Table("token", "not seen before, µs", "remembered, µs")
    now_s = int(time.time())
    for algorithm, kid in (("RS256", "rsa"), ("ES256", "ES256"), ("EdDSA", "ed25519")):
        made = [
            token(
                claims(iat=now_s, exp=now_s + 3600, jti=str(number), scope="orders " * 40),
                algorithm=algorithm,
                kid=kid,
            )
            for number in range(_TOKENS)
        ]
        requests = [Request("GET", "/", request_headers={"authorization": f"Bearer {text}"}) for text in made]

        def fresh() -> Callable[[Request], object]:
            return RequestAuthenticator([document], KeyRing()).authenticate

        anew = min(_median_us(fresh(), requests, 1) for _ in range(rounds))
        table.add_row(
            algorithm, f"{anew:.1f}", f"{_median_us(_warm(fresh(), requests), requests, rounds):.2f}"
        )
    return table


def _warm(
    authenticate: Callable[[Request], object], requests: Sequence[Request]
) -> Callable[[Request], object]:
    for request in requests:
        authenticate(request)
    return authenticate


def _median_us(do: Callable[[T], object], asked: Sequence[T], rounds: int) -> float:
    medians = []
    for _ in range(rounds):
        taken = []
        for one in asked:
            begun = time.perf_counter_ns()
            do(one)
            taken.append(time.perf_counter_ns() - begun)
        medians.append(statistics.median(taken) / 1000)
    return min(medians)


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
