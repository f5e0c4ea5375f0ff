"""The audit log: append-only, chained by keyed hashes, and checked by `envoy-tap audit verify`."""

from envoy_tap.audit.entry import Entry
from envoy_tap.audit.log import AuditLog
from envoy_tap.audit.recorder import Recorder

AUDIT_KEY = "audit"
"""The purpose for which the log's key is derived of the key file."""

__all__ = ["AUDIT_KEY", "AuditLog", "Entry", "Recorder"]
