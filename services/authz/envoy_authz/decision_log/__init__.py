"""The decision log: one JSON object a line, written beside the requests."""

from envoy_authz.decision_log.log import DecisionLog
from envoy_authz.decision_log.masks import Masks
from envoy_authz.decision_log.sinks import FileSink, Sink, StdoutSink

__all__ = ["DecisionLog", "FileSink", "Masks", "Sink", "StdoutSink"]
