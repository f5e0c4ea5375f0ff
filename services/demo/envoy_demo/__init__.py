"""The demo, and the process harness beneath it that tests/e2e drives too: real Envoy, real services, free ports."""
