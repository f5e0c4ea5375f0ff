"""How exchanges come out of a proxy: one driver for each way, behind one port, each with its declared capabilities.

Imports `envoy-data-plane`, so import these modules only where a server starts.
"""
