"""What the three Envoy sidecar services share: transports, lifecycle, health, settings, telemetry, TLS, workers."""

__version__ = "0.1.0"
