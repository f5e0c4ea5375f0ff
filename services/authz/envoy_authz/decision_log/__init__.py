"""The decision log: what was decided, masked, and written beside the requests to a file, stdout or a collector."""

from envoy_authz.decision_log.log import DecisionLog
from envoy_authz.decision_log.masks import Masks
from envoy_authz.decision_log.otlp import OtlpSink
from envoy_authz.decision_log.shape import Shown
from envoy_authz.decision_log.sinks import FileSink, Sink, StdoutSink

__all__ = ["DecisionLog", "FileSink", "Masks", "OtlpSink", "Shown", "Sink", "StdoutSink"]
