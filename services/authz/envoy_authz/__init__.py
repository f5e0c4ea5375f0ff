"""External authorization for Envoy: policies that security teams author."""
