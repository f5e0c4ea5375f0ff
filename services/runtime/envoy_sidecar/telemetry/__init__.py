"""Telemetry: counters that cost nothing on the hot path, their export, spans and logs."""
