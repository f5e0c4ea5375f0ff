"""`envoy-sidecars doctor`: what in an Envoy's configuration is missing, risky or slow for the three services."""
