"""The rules, each of which was tried on a real Envoy 1.40; `tests/tap/test_lint.py` tries them again."""

from collections.abc import Iterator

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_tap.lint.fields import field, finding, mappings, number, twice
from envoy_tap.lint.posted import matchers

# envoy.config.tap.v3.OutputSink.Format
_FORMATS = (
    "JSON_BODY_AS_BYTES",
    "JSON_BODY_AS_STRING",
    "PROTO_BINARY",
    "PROTO_BINARY_LENGTH_DELIMITED",
    "PROTO_TEXT",
)
_JSON = _FORMATS[:2]
_BUFFERED = (*_JSON, "PROTO_BINARY_LENGTH_DELIMITED")
_SINKS = ("streaming_admin", "buffered_admin", "file_per_tap", "streaming_grpc", "custom_sink")
_SENDS_BODIES = {"NONE": 0, "STREAMED": 1}
# Envoy makes room for all of them at once, 8 bytes each, and aborts where there is none; 100 million were taken.
_MOST_TRACES = 10_000_000
_ABORTS = "a stock Envoy aborts on this"
_REFUSED = "Envoy refuses this"


def check(document: Node, *, has_native_sink: bool = False) -> list[Finding]:
    """Return what is wrong with the tap configurations anywhere in *document*, in their order.

    It may be a bootstrap, a listener, a filter, a resource, a TapConfig, or what is posted to `/tap`. *has_native_sink*:
    it is for an Envoy that has the `streaming_grpc` sink, which no stock build has.
    """
    found: list[Finding] = []
    posted = _posted(document)
    if posted is not None:
        found += matchers(posted)
    for node in mappings(document):
        found += twice(node)
        if node is not posted and _is_tap_config(node):
            found += _tap_config(node, by_admin=node is field(posted, "tap_config"), native=has_native_sink)
        if str(_scalar(node, "@type")).endswith("ext_proc.v3.ExternalProcessor"):
            found += _ext_proc(node)
    if posted is not None and field(posted, "tap_config") is None:
        found.append(
            finding(
                posted, "tap_config", f"{_REFUSED}: it has no tap_config", "write match and output_config"
            )
        )
    return found


def _posted(document: Node) -> Node | None:
    """Return *document* if it is the body of `POST /tap` (envoy.admin.v3.TapRequest)."""
    return document if field(document, "config_id") is not None else None


def _is_tap_config(node: Node) -> bool:
    return field(node, "output_config") is not None


def _tap_config(config: Node, *, by_admin: bool, native: bool) -> Iterator[Finding]:
    if field(config, "match") is None and field(config, "match_config") is None:
        effect = _ABORTS if by_admin else _REFUSED
        yield finding(
            config,
            "match",
            f"{effect}: a tap without match",
            "write match: {any_match: true}, or what to capture",
        )
    output = field(config, "output_config")
    sinks = field(output, "sinks")
    listed = () if sinks is None else sinks.sequence or ()
    if output is not None and len(listed) != 1:
        yield finding(output, "sinks", f"{_REFUSED}: a tap has one sink, this has {len(listed)}", "list one")
    for sink in listed:
        yield from _sink(sink, by_admin=by_admin, native=native)
    if output is not None and listed and not _matches_nothing(config):
        yield from _limits(output)


def _matches_nothing(config: Node) -> bool:
    return _scalar(field(config, "match", "not_match"), "any_match") is True


def _sink(sink: Node, *, by_admin: bool, native: bool) -> Iterator[Finding]:
    kinds = [kind for kind in _SINKS if field(sink, kind) is not None]
    if not kinds:
        yield finding(sink, "", f"{_REFUSED}: a sink without a kind", f"one of {', '.join(_SINKS)}")
    for kind in kinds:
        yield from _kind(sink, kind, by_admin=by_admin, native=native)
    if _format(sink) == "JSON_BODY_AS_STRING":
        yield finding(
            sink, "format", "bodies that are not UTF-8 are corrupted", "write JSON_BODY_AS_BYTES", "warning"
        )


def _kind(sink: Node, kind: str, *, by_admin: bool, native: bool) -> Iterator[Finding]:
    form = _format(sink)
    match kind:
        case "streaming_grpc" if not native:
            hint = "let the tap service fill the slot (docs/how-to/add-the-tap-slot.md), or use file_per_tap"
            yield finding(sink, kind, f"{_ABORTS}: the sink streaming_grpc is not implemented in it", hint)
        case "custom_sink" if by_admin:
            yield finding(
                sink, kind, f"{_ABORTS}: no custom sink can be given by /tap", "use streaming_admin"
            )
        case "streaming_admin" | "buffered_admin" if not by_admin:
            hint = "use file_per_tap, or admin_config and POST /tap"
            yield finding(sink, kind, f"{_REFUSED}: the sink {kind} is for POST /tap only", hint)
        case "streaming_admin" if form not in _JSON:
            yield finding(
                sink, "format", f"{_ABORTS}: {kind} with the format {form}", "write JSON_BODY_AS_BYTES"
            )
        case "buffered_admin" if form not in _BUFFERED:
            hint = "write JSON_BODY_AS_BYTES or PROTO_BINARY_LENGTH_DELIMITED"
            yield finding(sink, "format", f"{_ABORTS}: {kind} with the format {form}", hint)
        case "buffered_admin":
            yield from _max_traces(field(sink, kind) or sink)


def _max_traces(sink: Node) -> Iterator[Finding]:
    wanted = number(field(sink, "max_traces"))
    hint = f"write how many it waits for, at most {_MOST_TRACES}"
    if wanted is None or wanted < 1 or wanted % 1:
        message = f"{_REFUSED}: buffered_admin without max_traces, or with one that is no number from 1 on"
        yield finding(sink, "max_traces", message, hint)
    elif wanted > _MOST_TRACES:
        yield finding(sink, "max_traces", f"{_ABORTS}: it makes room for all of max_traces at once", hint)


def _limits(output: Node) -> Iterator[Finding]:
    limits = ("max_buffered_rx_bytes", "max_buffered_tx_bytes")
    if not _scalar(output, "streaming") and all(field(output, name) is None for name in limits):
        hint = f"write {limits[0]} (of requests) and {limits[1]}, such as 65536"
        yield finding(output, "sinks", "each body is cut at 1 KiB", hint, "warning")


def _ext_proc(filter_: Node) -> Iterator[Finding]:
    if _scalar(filter_, "observability_mode") is not True:
        return
    if _scalar(filter_, "failure_mode_allow") is not True:
        message = "requests fail when the tap service is not there"
        yield finding(filter_, "observability_mode", message, "write failure_mode_allow: true")
    for name in ("request_body_mode", "response_body_mode"):
        mode = _scalar(field(filter_, "processing_mode"), name)
        if mode is not None and mode not in {*_SENDS_BODIES, *_SENDS_BODIES.values()}:
            processing = field(filter_, "processing_mode") or filter_
            message = f"no body is sent in the mode {mode}, and none of this is said by Envoy"
            yield finding(processing, name, message, "write STREAMED, or NONE if you want none")


def _format(sink: Node) -> str:
    form = field(sink, "format")
    if form is None:
        return _FORMATS[0]
    found = number(form)
    # 3.0 is none to Envoy.
    is_one = isinstance(found, int) and found in range(len(_FORMATS))
    return _FORMATS[int(found or 0)] if is_one else str(form.scalar)


def _scalar(node: Node | None, name: str) -> object:
    found = field(node, name)
    return None if found is None else found.scalar
