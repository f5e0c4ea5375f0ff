"""Answers batches of ShouldRateLimit: the handler that a transport runs."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import grpc

from envoy_ratelimit import wire
from envoy_ratelimit.core.fallback import LocalShare
from envoy_ratelimit.core.limiter import Answer as Decided
from envoy_ratelimit.core.limiter import FailurePolicy, Limiter, Plan
from envoy_ratelimit.core.response import STATUSES_ALONE, ResponseOptions
from envoy_ratelimit.core.rules import Rules
from envoy_ratelimit.core.store import BucketStore, StoreError
from envoy_ratelimit.outage import Outage
from envoy_ratelimit.plans import MAX_REMEMBERED, PlanCache
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Answer, Call, Failure

LOG = logging.getLogger(__name__)
Observe = Callable[[Plan, Decided], None]
"""Sees a request and what was decided of it, on the thread that decides."""


class _Configuration(NamedTuple):
    """What a batch works with: all that follows from one set of rules."""

    rules: Rules
    limiter: Limiter
    encoder: wire.Encoder
    plans: PlanCache


class RateLimitHandler:
    """The unary handler of RateLimitService/ShouldRateLimit.

    A batch sees exactly one configuration and makes at most one call of the store. It never raises and answers an RPC
    error only to a request that cannot be read (INVALID_ARGUMENT): when the store or our own code fails, requests get
    their rules' policies, or *on_store_failure*, each by itself; *local* decides for those with the policy LOCAL.
    *why_down* says why a part of the store is not reached, empty if all of it is. *response* says what answers have
    beside the statuses. *observe* is shown each decision, once it is written down as an answer. Of *remembered*
    requests it is known what they come to, so that the same bytes are read and looked up once.
    """

    def __init__(
        self,
        rules: Rules,
        store: BucketStore,
        *,
        on_store_failure: FailurePolicy = FailurePolicy.ALLOW,
        local: LocalShare | None = None,
        why_down: Callable[[], str] = lambda: "",
        response: ResponseOptions = STATUSES_ALONE,
        observe: Observe | None = None,
        remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._store = store
        self._policy = on_store_failure
        self._local = local
        self._response = response
        self._observe = observe
        self._remembered = remembered
        self.outage = Outage(f"requests get {on_store_failure.value!r}", why_down)
        self._fallback = wire.Encoder().encode((on_store_failure is FailurePolicy.DENY, []))
        self.invalid = Tally("ratelimit.invalid_requests", "Requests that could not be read")
        self.store_failures = Tally("ratelimit.store_failures", "Batches the store did not decide", ("kind",))
        self.errors = Tally(
            "ratelimit.errors", "Requests answered by the failure policy after a fault of ours"
        )
        for tally in (self.invalid, self.errors):
            tally.begin()
        self._configuration = self._configured(rules)

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """All counters, for the metrics export."""
        return self.invalid, self.store_failures, self.errors

    @property
    def rules(self) -> Rules:
        """The configuration that serves now."""
        return self._configuration.rules

    def swap(self, rules: Rules) -> None:
        """Serve *rules* from the next batch on; may be called from any thread."""
        self._configuration = self._configured(rules)

    def __call__(self, calls: Sequence[Call]) -> list[Answer]:
        """Answer a batch of serialized RateLimitRequests with serialized RateLimitResponses."""
        _, limiter, encoder, known = self._configuration
        answers: list[Answer] = [self._fallback] * len(calls)
        plans: list[Plan] = []
        places: list[int] = []
        for place, call in enumerate(calls):
            try:
                plans.append(known.young.get(call.payload) or known.find(call.payload))
                places.append(place)
            except wire.InvalidRequestError as error:
                self.invalid.add()
                answers[place] = Failure(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except Exception as error:  # noqa: BLE001 - see the class: a fault of ours is no RPC error
                self._fault("a request could not be planned", error)
        observe = self._observe
        for place, plan, answer in zip(places, plans, self._settled(limiter, plans), strict=True):
            try:
                answers[place] = encoder.encode(answer, plan)
                if observe is not None:
                    observe(plan, answer)
            except Exception as error:  # noqa: BLE001
                self._fault("an answer could not be written", error)
        return answers

    def _configured(self, rules: Rules) -> _Configuration:
        limiter = Limiter(rules, self._store, on_failure=self._policy, local=self._local)
        plans = PlanCache(lambda payload: limiter.plan(*wire.read_request(payload)), self._remembered)
        return _Configuration(rules, limiter, wire.Encoder(self._response), plans)

    def _settled(self, limiter: Limiter, plans: Sequence[Plan]) -> Sequence[Decided]:
        try:
            settled = limiter.settle(plans)
        except StoreError as error:
            self.store_failures.add((error.kind,))
            self.outage.failed(error)
        except Exception as error:  # noqa: BLE001
            self._fault("a batch could not be decided", error, len(plans))
        else:
            if self.outage.is_unproven and any(plan.takes for plan in plans):
                self.outage.decided()
            return settled
        return [self._failed(limiter, plan) for plan in plans]

    def _failed(self, limiter: Limiter, plan: Plan) -> Decided:
        try:
            return limiter.fail(plan)
        except Exception as error:  # noqa: BLE001
            self._fault("a request could not be decided without the store", error)
            return self._policy is FailurePolicy.DENY, []

    def _fault(self, what: str, error: Exception, requests: int = 1) -> None:
        self.errors.add(amount=requests)
        LOG.error("%s; the failure policy answers", what, exc_info=error)
