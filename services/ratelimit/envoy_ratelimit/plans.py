"""Requests that were read and looked up before: what the same bytes come to under one configuration is always the same."""

from collections.abc import Callable

from envoy_ratelimit.core.limiter import Plan

MAX_REMEMBERED = 4096
MAX_PAYLOAD_BYTES = 512
MAX_DESCRIPTORS = 8
"""Larger requests are read each time, so that memory has a bound: 1.5 to 2.5 KB a request, 16 if it is all empty texts."""


class PlanCache:
    """Plans by the serialized request, the latest ones: *most* at the most, and at least half as many.

    There are two generations. A plan that is asked for is in the young one; when that is full it becomes the old one,
    and what was in the old one is forgotten. With *most* below 2 nothing is remembered. *plan* may raise what it likes;
    such a request is not remembered. Not thread-safe.
    """

    __slots__ = ("_half", "_old", "_plan", "young")

    def __init__(self, plan: Callable[[bytes], Plan], most: int = MAX_REMEMBERED) -> None:
        self._plan = plan
        self._half = most // 2
        self._old: dict[bytes, Plan] = {}
        self.young: dict[bytes, Plan] = {}
        """To be looked at before `find` is called, which costs more."""

    def __len__(self) -> int:
        return len(self.young) + sum(payload not in self.young for payload in self._old)

    def find(self, payload: bytes) -> Plan:
        """Return the plan of a request that is not in `young`, and have it there the next time."""
        plan = self._old.get(payload)
        if plan is None:
            plan = self._plan(payload)
        if self._half and len(payload) <= MAX_PAYLOAD_BYTES and len(plan.rules) <= MAX_DESCRIPTORS:
            if len(self.young) >= self._half:
                self._old, self.young = self.young, {}
            self.young[payload] = plan
        return plan
