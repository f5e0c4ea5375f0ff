"""The rules, each of which was tried on a real Envoy 1.40; `tests/tap/test_lint.py` tries them again."""

from collections.abc import Iterator

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_tap.lint.fields import ABORTS, REFUSED, field, finding, mappings, scalar, text, truth, twice
from envoy_tap.lint.matches import match
from envoy_tap.lint.posted import matchers
from envoy_tap.lint.sinks import cut, output_config

_TAPS = ("filters.http.tap.v3.Tap", "transport_sockets.tap.v3.Tap")
_SOURCES = ("admin_config", "static_config")
_MATCHES = ("match", "match_config")
_SENDS_BODIES = {"NONE": 0, "STREAMED": 1}


def check(document: Node, *, has_native_sink: bool = False) -> list[Finding]:
    """Return what is wrong with the tap configurations anywhere in *document*, in their order.

    It may be a bootstrap, a listener, a filter, a resource, a TapConfig, or what is posted to `/tap`. *has_native_sink*:
    it is for an Envoy that has the `streaming_grpc` sink, which no stock build has.
    """
    posted = document if _is_posted(document) else None
    found = [] if posted is None else [*_posted(posted)]
    by_admin = field(posted, "tap_config")
    static: set[int] = set()
    for node in mappings(document):
        found += twice(node)
        static.add(id(field(node, "common_config", "static_config")))
        if node is by_admin or id(node) in static or (node is not posted and _has_output(node)):
            found += _tap_config(node, by_admin=node is by_admin, native=has_native_sink)
        if _type(node).endswith(_TAPS):
            found += _source(node)
        if _type(node).endswith("ext_proc.v3.ExternalProcessor"):
            found += _ext_proc(node)
        found += _routes(node)
    return found


def _is_posted(document: Node) -> bool:
    """Whether this is the body of `POST /tap` (envoy.admin.v3.TapRequest)."""
    return any(field(document, name) is not None for name in ("config_id", "tap_config"))


def _posted(body: Node) -> Iterator[Finding]:
    yield from matchers(body)
    if not text(body, "config_id"):
        message = f"{REFUSED}: it has no config_id"
        yield finding(body, "config_id", message, "write that of the filter's admin_config")
    config = field(body, "tap_config")
    if config is None or config.mapping is None:
        message = f"{REFUSED}: it has no tap_config"
        yield finding(body, "tap_config", message, "write match and output_config")


def _has_output(node: Node) -> bool:
    return field(node, "output_config") is not None


def _type(node: Node) -> str:
    return text(node, "@type")


def _source(tap: Node) -> Iterator[Finding]:
    common = field(tap, "common_config")
    sources = [name for name in _SOURCES if field(common, name) is not None]
    if len(sources) != 1:
        message = f"{REFUSED}: a tap has one source, this has {len(sources)}"
        hint = f"write common_config with {' or '.join(_SOURCES)}"
        yield finding(common or tap, "common_config", message, hint)
    admin = field(common, "admin_config")
    if admin is not None and not text(admin, "config_id"):
        yield finding(
            admin, "config_id", f"{REFUSED}: it has no config_id", "write a name for POST /tap to ask for"
        )


def _routes(node: Node) -> Iterator[Finding]:
    override = field(node, "typed_per_filter_config")
    for name, given in ((override and override.mapping) or {}).items():
        # A FilterConfig may stand around it.
        if any(_type(each).endswith(_TAPS) for each in mappings(given)):
            message = f"{REFUSED}: the tap filter takes no configuration of a route or a virtual host"
            hint = "write a FilterConfig (envoy.config.route.v3) that says disabled, and nothing else"
            yield finding(override or node, name, message, hint)


def _tap_config(config: Node, *, by_admin: bool, native: bool) -> Iterator[Finding]:
    output = field(config, "output_config")
    matches = [found for name in _MATCHES if (found := field(config, name)) is not None]
    if not matches:
        effect = REFUSED if output is None or not by_admin else ABORTS
        hint = "write match: {any_match: true}, or what to capture"
        yield finding(config, "match", f"{effect}: a tap without match", hint)
    for each in matches:
        yield from match(each, by_admin=by_admin)
    enabled = field(config, "tap_enabled")
    if enabled is not None and field(enabled, "default_value") is None:
        message = f"{REFUSED}: tap_enabled without default_value"
        yield finding(enabled, "default_value", message, "write what share of requests: {numerator: 100}")
    if output is None:
        hint = "write output_config with one sink"
        yield finding(config, "output_config", f"{REFUSED}: a tap without output_config", hint)
        return
    yield from output_config(output, by_admin=by_admin, native=native)
    if field(output, "sinks") is not None and not _matches_nothing(config):
        yield from cut(output)


def _matches_nothing(config: Node) -> bool:
    return truth(field(config, "match", "not_match"), "any_match")


def _ext_proc(filter_: Node) -> Iterator[Finding]:
    if not truth(filter_, "observability_mode"):
        return
    if not truth(filter_, "failure_mode_allow"):
        message = "requests fail when the tap service is not there"
        yield finding(filter_, "observability_mode", message, "write failure_mode_allow: true")
    for name in ("request_body_mode", "response_body_mode"):
        mode = scalar(field(filter_, "processing_mode"), name)
        if mode is not None and mode not in {*_SENDS_BODIES, *_SENDS_BODIES.values()}:
            processing = field(filter_, "processing_mode") or filter_
            message = f"no body is sent in the mode {mode}, and none of this is said by Envoy"
            yield finding(processing, name, message, "write STREAMED, or NONE if you want none")
