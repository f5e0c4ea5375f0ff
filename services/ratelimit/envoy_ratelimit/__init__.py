"""Global rate limits for Envoy: token buckets in memory or in Redis."""
