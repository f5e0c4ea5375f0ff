"""What one count costs: `Tally.add` against an OpenTelemetry counter, with the same attributes.

`python -m tests.bench.counter_cost`
"""

import sys
import timeit

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from envoy_sidecar.telemetry.tally import Tally

CALLS = 100_000
ROUNDS = 7


def nanoseconds(statement: str, names: dict[str, object]) -> float:
    """Return the time of one *statement*: the best of several rounds, so that other work on the machine counts least."""
    return min(timeit.repeat(statement, globals=names, number=CALLS, repeat=ROUNDS)) / CALLS * 1e9


def main() -> None:
    """Measure and print both and their ratio."""
    tally = Tally("authz.decisions", "Decisions", ("decision", "policy"))
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    counter = provider.get_meter("bench").create_counter("authz.decisions")
    ours = nanoseconds("tally.add(('allow', 'ns/policy'))", {"tally": tally})
    theirs = nanoseconds("counter.add(1, {'decision': 'allow', 'policy': 'ns/policy'})", {"counter": counter})
    assert tally.value(("allow", "ns/policy")) == CALLS * ROUNDS
    provider.shutdown()
    sys.stdout.write(f"Tally.add                 {ours:8.0f} ns\n")
    sys.stdout.write(f"OpenTelemetry Counter.add {theirs:8.0f} ns\n")
    sys.stdout.write(f"ratio                     {theirs / ours:8.1f}\n")


if __name__ == "__main__":
    main()
