"""The form in which a decision is written down: JSON values, masked."""

from collections.abc import Mapping
from datetime import UTC, datetime

from envoy_authz.core.record import Record
from envoy_authz.decision_log.masks import Masks

Shown = Mapping[str, object]
"""One decision as JSON values."""


def shown(record: Record, masks: Masks) -> Shown:
    """Return *record* as it is written down; parts that say nothing are left out."""
    moment = datetime.fromtimestamp(record.time_s, UTC).isoformat(timespec="milliseconds")
    request = {
        "method": masks.text(record.method),
        "path": masks.path(record.path),
        "host": masks.text(record.host),
    }
    entry: dict[str, object] = {
        "time": moment.replace("+00:00", "Z"),
        "id": record.id,
        "decision": "allow" if record.allowed else "deny",
        "policy": record.policy,
        "rule": record.rule,
        "reason": record.reason,
        "request": request,
        "source": {"principal": masks.text(record.principal), "address": masks.text(record.address)},
    }
    more: dict[str, object] = {
        "workload": _workload(record, masks),
        "destination": {"port": record.port, "sni": masks.text(record.sni)}
        if record.port or record.sni
        else None,
        "tokens": [masks.text(token) for token in record.tokens],
        "reads": list(record.reads),
        "attributes": {name: [masks.text(one) for one in values] for name, values in record.attributes},
        "observed": [one._asdict() for one in record.observed],
        "detail": masks.path(record.detail),
    }
    return entry | {name: value for name, value in more.items() if value}


def _workload(record: Record, masks: Masks) -> Mapping[str, object] | None:
    if not record.namespace and record.labels is None:
        return None
    labels = {name: masks.text(value) for name, value in (record.labels or {}).items()}
    return {"namespace": record.namespace, "labels": labels}
