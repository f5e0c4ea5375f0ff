"""A log of decisions, so that "why was I limited" has an answer: sampled, of a bounded rate, its keys hashed if need be."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from envoy_ratelimit.core.limiter import Answer, Plan, Verdict
from envoy_ratelimit.observe.naming import KeyStyle, shown_key

LOG = logging.getLogger(__name__)

MAX_RECORDS_PER_S = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLogOptions:
    """What is logged: a `sample` (0 to 1) of the requests over a limit, and how their keys are written.

    `salt` goes into the hashes, so that a list of guesses does not reveal them.
    """

    sample: float = 0.0
    keys: KeyStyle = "plain"
    salt: str = ""


class DecisionLog:
    """Logs a sample of the requests that were over a limit, and of those that only shadow mode let pass."""

    def __init__(
        self,
        options: DecisionLogOptions,
        *,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._chance = chance
        self._clock = clock
        self._second = 0
        self._logged = 0
        self.suppressed = 0

    def see(self, plan: Plan, answer: Answer) -> None:
        """Log the descriptors of one request that were over their limit, if the sample has it."""
        sample = self._options.sample
        if sample <= 0 or (sample < 1 and self._chance() >= sample):
            return
        takes = iter(plan.takes)
        for status in answer[1]:
            if status is None:
                continue
            rule, verdict, remaining, reset_us = status
            take = next(takes) if rule.bucket is not None else None
            if verdict not in {Verdict.OVER_LIMIT, Verdict.SHADOWED, Verdict.FAILED_CLOSED} or take is None:
                continue
            if not self._has_room():
                self.suppressed += 1
                continue
            fields = {
                "domain": rule.domain,
                "rule": rule.path,
                "limit": str(rule.rate),
                "verdict": verdict.name.lower(),
                "cost": take[2],
                "remaining": remaining,
                "wait_s": None if reset_us is None else round(reset_us / 1_000_000, 3),
            }
            if self._options.keys != "none":
                fields["key"] = shown_key(rule.key_prefix, take[0], self._options.keys, self._options.salt)
            LOG.info("limited", extra=fields)

    def _has_room(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._logged = second, 0
        self._logged += 1
        return self._logged <= MAX_RECORDS_PER_S
