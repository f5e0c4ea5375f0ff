"""Policies as files: read whole, checked whole, and reported with file, line and column."""

from envoy_authz.config.load import LoadedPolicies, load_policies

__all__ = ["LoadedPolicies", "load_policies"]
