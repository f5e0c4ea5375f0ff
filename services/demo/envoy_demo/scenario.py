"""The traffic that the demo sends, as data, and what has to come of it with the policies and limits it ships."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from envoy_demo.client import Request

TAP_PATH = "/orders/traced"
SECRET = "Bearer nobodys-business"  # noqa: S105 - a made-up one, to show that it is not captured
REDACTED = "[redacted]"
REASON_HEADER = "x-envoy-authz-reason"
POLICY_HEADER = "x-envoy-authz-policy"


class Decider(StrEnum):
    """Who gave a request its answer."""

    AUTHZ = "authz"
    RATELIMIT = "ratelimit"
    UPSTREAM = "upstream"
    ENVOY = "envoy"
    """Envoy itself, for want of an answer from one of the others."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the demo: a request, how often it is sent, and what is expected.

    `statuses` are those of all answers, in order, so their number is how often the request is sent. `decided_by` and
    `headers` (regular expressions that match whole values) are about the last answer. `captured` says whether the
    tap must have the last exchange, or must not.
    """

    shows: str
    request: Request
    statuses: tuple[int, ...]
    decided_by: Decider
    headers: Mapping[str, str] = field(default_factory=dict)
    captured: bool = False


def _ordered_by(user: str) -> Request:
    return Request(
        "POST", "/orders", {"x-user": user, "content-type": "application/json"}, b'{"item": "tea"}'
    )


STEPS = (
    Step(
        "Anyone may read what is public",
        Request("GET", "/public/welcome"),
        (200,),
        Decider.UPSTREAM,
    ),
    Step(
        "Administration needs an identity",
        Request("GET", "/admin/users"),
        (403,),
        Decider.AUTHZ,
        {REASON_HEADER: "no_policy_matched"},
    ),
    Step(
        "... also by a detour",
        Request("GET", "/public/../admin/users"),
        (403,),
        Decider.AUTHZ,
        {REASON_HEADER: "no_policy_matched"},
    ),
    Step(
        "What no policy allows is refused",
        Request("DELETE", "/orders/1"),
        (403,),
        Decider.AUTHZ,
        {REASON_HEADER: "no_policy_matched"},
    ),
    Step(
        "A DENY policy wins over the ALLOW",
        Request("GET", "/orders/export"),
        (403,),
        Decider.AUTHZ,
        {REASON_HEADER: "denied_by_policy", POLICY_HEADER: "demo/no-exports"},
    ),
    Step(
        "Alice orders, 5 a minute at most",
        _ordered_by("alice"),
        (200, 200, 200, 200, 200),
        Decider.UPSTREAM,
        {"x-ratelimit-limit": r"5\b.*", "x-ratelimit-remaining": "0"},
    ),
    Step(
        "... so the next two are too many",
        _ordered_by("alice"),
        (429, 429),
        Decider.RATELIMIT,
        {"x-ratelimit-limit": r"5\b.*", "x-ratelimit-remaining": "0", "x-ratelimit-reset": r"[1-9]\d*"},
    ),
    Step(
        "Bob has a limit of his own",
        _ordered_by("bob"),
        (200,),
        Decider.UPSTREAM,
        {"x-ratelimit-limit": r"5\b.*", "x-ratelimit-remaining": "4"},
    ),
    Step(
        "An exchange that is not targeted is not captured",
        Request("GET", "/orders/7", {"authorization": SECRET}),
        (200,),
        Decider.UPSTREAM,
    ),
    Step(
        "The targeted one is, without its secret",
        Request("POST", f"{TAP_PATH}/8", {"authorization": SECRET}, b'{"item": "coffee", "spoons": 2}'),
        (200,),
        Decider.UPSTREAM,
        captured=True,
    ),
)
