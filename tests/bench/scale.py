"""`python -m tests.bench.scale`: what many rules and many live buckets cost, beside few of them.

Times are the CPU's, so that what else a machine does counts little.
"""

import gc
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, TypeVar

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.limiter import Limiter, Request
from envoy_ratelimit.core.rule import Rate, Unit
from envoy_ratelimit.core.rules import Defaults, Descriptor, Domain, Limit, Rules, compile_rules
from envoy_ratelimit.stores.memory import MemoryStore

_SEED = 20_260_701
_TRIES = 50_000
_BATCH = 32
_FEW = 100
T = TypeVar("T")
Count = Annotated[int, Parameter(validator=validators.Number(gte=_FEW, lte=10_000_000))]

app = App(name="scale", help="Measure look-ups among many rules, and the memory of many live buckets.")


@app.default
def scale(*, rules: Count = 100_000, buckets: Count = 1_000_000) -> int:
    """Print the figures; exit code 0."""
    console = Console()
    console.print(f"seed {_SEED}")
    table = Table("rules", "compiled in s", "bytes a rule", "look-up, exact, µs", "look-up, any value, µs")
    for count in (_FEW, rules):
        table.add_row(*_alone(_rules_row, count))
    console.print(table)
    table = Table(
        "algorithm", "live buckets", "bytes a bucket", "decision on a live bucket, µs", "on a new one, µs"
    )
    for algorithm in Algorithm:
        for count in (_FEW, buckets):
            table.add_row(algorithm.value, *_alone(_buckets_row, algorithm, count))
    console.print(table)
    return 0


def _alone(measure: Callable[..., tuple[str, ...]], *arguments: object) -> tuple[str, ...]:
    """Measure in a process of its own, whose memory nothing else has grown."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def _rules_row(count: int) -> tuple[str, ...]:
    before = _resident_bytes()
    started = time.process_time()
    rules = _many_rules(count)
    seconds = time.process_time() - started
    grown = (_resident_bytes() - before) // count
    plan = Limiter(rules, MemoryStore()).plan
    chosen = random.Random(_SEED).choices(range(count // 2), k=_TRIES)  # noqa: S311 - no secret
    exact: list[Request] = [
        ("scale", [([("tenant", f"t{one}"), ("plan", "gold")], None, None)], 0) for one in chosen
    ]
    bare: list[Request] = [
        ("scale", [([("tenant", f"t{one}"), ("user", "u")], None, None)], 0) for one in chosen
    ]
    return (
        f"{count:,}",
        f"{seconds:.2f}",
        f"{grown:,}" if count > _FEW else "",
        f"{_us_each(lambda one: plan(*one), exact):.2f}",
        f"{_us_each(lambda one: plan(*one), bare):.2f}",
    )


def _many_rules(count: int) -> Rules:
    """Two rules for each of half as many tenants, as a platform has them."""
    limit = Limit(Rate(5, Unit.MINUTE))
    tenants = tuple(
        Descriptor(
            "tenant",
            f"t{number}",
            None,
            descriptors=(Descriptor("plan", "gold", limit), Descriptor("user", "", limit)),
        )
        for number in range(count // 2)
    )
    return compile_rules([Domain("scale", tenants)])


def _buckets_row(algorithm: Algorithm, count: int) -> tuple[str, ...]:
    rules = compile_rules(
        [Domain("scale", (Descriptor("user", "", Limit(Rate(1000, Unit.DAY))),))],
        Defaults(algorithm=algorithm),
    )
    store = MemoryStore(max_buckets=count + _TRIES)
    limiter = Limiter(rules, store)
    before = _resident_bytes()
    for batch in _batches(range(count)):
        limiter.decide(batch)
    grown = (_resident_bytes() - before) // count
    chosen = random.Random(_SEED).choices(range(count), k=_TRIES)  # noqa: S311 - no secret
    live = _us_each(limiter.decide, list(_batches(chosen))) / _BATCH
    new = _us_each(limiter.decide, list(_batches(range(count, count + _TRIES)))) / _BATCH
    store.close()
    return f"{count:,}", f"{grown:,}" if count > _FEW else "", f"{live:.2f}", f"{new:.2f}"


def _batches(users: range | list[int]) -> Iterator[list[Request]]:
    for start in range(0, len(users), _BATCH):
        yield [
            ("scale", [([("user", f"user-{number:09}")], None, None)], 0)
            for number in users[start : start + _BATCH]
        ]


def _us_each(do: Callable[[T], object], asked: Sequence[T]) -> float:
    started = time.process_time()
    for one in asked:
        do(one)
    return (time.process_time() - started) / len(asked) * 1e6


def _resident_bytes() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - Linux only, as the figures are
        return int(file.read().split()[1]) * 4096


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
