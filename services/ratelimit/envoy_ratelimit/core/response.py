"""What an answer says beside its statuses, where that is wanted: headers, a body for a refusal, metadata. Plain data."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from envoy_ratelimit.core.limiter import Answer, Plan, Status, Verdict
from envoy_ratelimit.core.rule import Entries, Rate
from envoy_ratelimit.core.store import QUOTA
from envoy_ratelimit.core.token_bucket import MICROSECONDS

PROBLEM_TYPE = "application/problem+json"
_STATUS = 429
_COUNTED = frozenset({Verdict.OK, Verdict.OVER_LIMIT, Verdict.SHADOWED, Verdict.OVER_QUOTA})
_PASSED = frozenset({Verdict.OK, Verdict.UNLIMITED, Verdict.FAILED_OPEN})
REFUSED = frozenset({Verdict.OVER_LIMIT, Verdict.FAILED_CLOSED})
"""Verdicts that refuse the request."""
_OVER = frozenset({Verdict.OVER_LIMIT, Verdict.OVER_QUOTA, Verdict.FAILED_CLOSED})


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """Names of response headers, in lower case; the defaults are those of the IETF draft (and of the reference).

    https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
    """

    limit: str = "ratelimit-limit"
    remaining: str = "ratelimit-remaining"
    reset: str = "ratelimit-reset"
    retry_after: str = "retry-after"


X_RATELIMIT = HeaderNames("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """What an answer has beside its statuses.

    `headers` names response headers, None leaves them out. `body` "problem" gives refusals a JSON body (RFC 9457).
    """

    headers: HeaderNames | None = None
    dynamic_metadata: bool = False
    body: Literal["none", "problem"] = "none"

    @property
    def plain(self) -> bool:
        """Whether answers are statuses alone."""
        return self.headers is None and not self.dynamic_metadata and self.body == "none"


STATUSES_ALONE = ResponseOptions()


def seconds(reset_us: int) -> int:
    """Return whole seconds, rounded up."""
    return -(-reset_us // MICROSECONDS)


def header_values(answer: Answer, names: HeaderNames) -> Iterator[tuple[str, str]]:
    """Yield the headers of an answer: of the limit with the least remaining, and of several such the longest to reset.

    `retry-after` is on refusals alone, and not where waiting does not help.
    """
    over, statuses = answer
    counted = [status for status in statuses if status is not None and status[1] in _COUNTED]
    if counted:
        rule, _, remaining, reset_us = min(counted, key=_tightness)
        if rule.rate is not None:
            yield names.limit, str(rule.rate.requests_per_unit)
            yield names.remaining, str(remaining)
            if reset_us is not None:
                yield names.reset, str(seconds(reset_us))
    wait_s = retry_after_s(answer) if over else None
    if wait_s is not None:
        yield names.retry_after, str(wait_s)


def retry_after_us(statuses: Sequence[Status | None]) -> int | None:
    """Return how long the slowest of the limits that refused takes; of the quotas the first, for one is enough.

    None where waiting does not help, or how long is not known.
    """
    refused = [status for status in statuses if status is not None and status[1] in REFUSED]
    waits = [reset_us for rule, _, _, reset_us in refused if not rule.mode & QUOTA]
    quotas = [reset_us for rule, _, _, reset_us in refused if rule.mode & QUOTA]
    if quotas:
        waits.append(min((wait for wait in quotas if wait is not None), default=None))
    known = [wait for wait in waits if wait is not None]
    return max(known) if known and len(known) == len(waits) else None


def retry_after_s(answer: Answer) -> int | None:
    """Return the seconds until the refused request would pass, rounded up; see `retry_after_us`."""
    wait_us = retry_after_us(answer[1])
    return None if wait_us is None else seconds(wait_us)


def problem(answer: Answer) -> bytes:
    """Return the body of a refusal: problem details, with the limits that refused."""
    refused = [status for status in answer[1] if status is not None and status[1] is Verdict.OVER_LIMIT]
    wait_s = retry_after_s(answer)
    details: dict[str, object] = {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": _STATUS,
        "detail": "over the limit" if refused else "the limit could not be checked",
        "limits": [
            {"name": rule.name or rule.path, "limit": str(rule.rate), "remaining": remaining}
            for rule, _, remaining, _ in refused
        ],
    }
    if wait_s is not None:
        details["retry_after_s"] = wait_s
    return json.dumps(details, separators=(",", ":")).encode()


def metadata(plan: Plan, answer: Answer) -> dict[str, object]:
    """Return the dynamic metadata of an answer, in the reference's fields.

    `metadata` is that of all descriptors that passed: of what several have, the first's.
    """
    statuses = answer[1]
    found: dict[str, object] = {
        "domain": plan.domain or plan.unknown_domain,
        "descriptors": [_descriptor(*hits) for hits in plan.descriptors],
        "quotaModeEnabled": any(
            rule is not None and rule.quota_mode and rule.bucket is not None for rule in plan.rules
        ),
    }
    if plan.hits:
        found["hitsAddend"] = plan.hits
    over = [place for place, status in enumerate(statuses) if status is not None and _is_quota_over(status)]
    if over:
        found["quotaModeViolations"] = over
    merged: Mapping[str, object] = {}
    for status in statuses:
        if status is not None and status[0].metadata and _has_passed(status):
            merged = _merged(merged, status[0].metadata)
    if merged:
        found["metadata"] = merged
    return found


def _descriptor(entries: Entries, own_hits: int | None, override: Rate | None) -> dict[str, object]:
    found: dict[str, object] = {"entries": [f"{key}={value}" for key, value in entries]}
    if override is not None:
        requests = f"requests_per_unit:{override.requests_per_unit} " if override.requests_per_unit else ""
        found["limit"] = f"{requests}unit:{override.unit.name}"
    if own_hits is not None:
        found["hitsAddend"] = abs(own_hits)
    return found


def _merged(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, object]:
    merged = {**second, **first}
    for key in first.keys() & second.keys():
        ours, theirs = first[key], second[key]
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            merged[key] = _merged(ours, theirs)
    return merged


def _has_passed(status: Status) -> bool:
    rule, verdict, _, _ = status
    return verdict in _PASSED or (verdict is Verdict.SHADOWED and not rule.shadowed_by_service)


def _is_quota_over(status: Status) -> bool:
    rule, verdict, _, _ = status
    if verdict is Verdict.SHADOWED:
        return rule.quota_mode and rule.shadowed_by_service
    return rule.quota_mode and verdict in _OVER


def _tightness(status: Status) -> tuple[int, float]:
    _, _, remaining, reset_us = status
    return remaining, float("-inf") if reset_us is None else -reset_us
