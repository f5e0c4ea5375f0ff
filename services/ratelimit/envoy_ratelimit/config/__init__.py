"""Limits as files, in the reference's YAML: read whole, checked whole, reported with file, line and column."""

from envoy_ratelimit.config.load import LoadedRules, load_rules

__all__ = ["LoadedRules", "load_rules"]
