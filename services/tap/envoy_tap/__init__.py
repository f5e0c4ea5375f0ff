"""Tap for Envoy: capture one targeted exchange in clear text."""
