"""The unary handler of `envoy.service.auth.v3.Authorization/Check`: batches in, answers out, decisions counted."""

from collections.abc import Sequence

from envoy_authz.core.decide import PolicySet
from envoy_authz.wire import CheckAdapter
from envoy_sidecar.telemetry.tally import Tally
from envoy_sidecar.transport.port import Answer, Call, Service

SERVICE_NAME = "envoy.service.auth.v3.Authorization"


def decisions_tally() -> Tally:
    """Return the counter of decisions: `decision` is allow or deny, `policy` the one that decided, or empty."""
    return Tally("authz.decisions", "Checks decided.", ("decision", "policy", "reason"))


class Authorizer:
    """Answers checks by the current policies, which may be swapped from any thread while it runs.

    `decisions` counts every check; it is written by the thread that calls, and by no other.
    """

    __slots__ = ("_current", "decisions")

    def __init__(self, policies: PolicySet, decisions: Tally | None = None) -> None:
        self.decisions = decisions_tally() if decisions is None else decisions
        self._current = (policies, CheckAdapter(policies))

    @property
    def policies(self) -> PolicySet:
        """The policies that decide now."""
        return self._current[0]

    def swap(self, policies: PolicySet) -> None:
        """Decide by *policies* from the next batch on; a batch under way is decided by the old ones to its end."""
        self._current = (policies, CheckAdapter(policies))

    def service(self) -> Service:
        """Return what a transport serves."""
        return Service(SERVICE_NAME, unary={"Check": self})

    def __call__(self, calls: Sequence[Call]) -> list[Answer]:
        """Answer each call with a serialized `CheckResponse`, in their order. Never raises."""
        check = self._current[1].check
        count = self.decisions.add
        answers: list[Answer] = []
        for call in calls:
            payload, labels = check(call.payload)
            count(labels)
            answers.append(payload)
        return answers
