"""What in an output_config (envoy.config.tap.v3.OutputConfig) Envoy aborts on, refuses, or captures less by."""

from collections.abc import Iterator

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_tap.lint.fields import ABORTS, REFUSED, field, finding, items, number, text, truth

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
_LIMITS = ("max_buffered_rx_bytes", "max_buffered_tx_bytes")
_UINT32 = 2**32
# Envoy makes room for all of them at once, 8 bytes each, and aborts where there is none; 100 million were taken.
_MOST_TRACES = 10_000_000


def output_config(output: Node, *, by_admin: bool, native: bool) -> Iterator[Finding]:
    """Yield what is wrong with *output*; *by_admin*: it is posted to `/tap`; *native*: for an Envoy with the gRPC sink."""
    listed = items(field(output, "sinks"))
    if len(listed) != 1:
        yield finding(output, "sinks", f"{REFUSED}: a tap has one sink, this has {len(listed)}", "list one")
    for sink in listed:
        yield from _sink(sink, by_admin=by_admin, native=native)
    for name in _LIMITS:
        limit = field(output, name)
        if limit is not None and limit.mapping is None and not _is_uint32(limit):
            yield finding(output, name, f"{REFUSED}: {name} is no number of 32 bits", "such as 65536")


def cut(output: Node) -> Iterator[Finding]:
    """Yield that bodies are cut where nothing says how much of them is wanted."""
    if not truth(output, "streaming") and all(field(output, name) is None for name in _LIMITS):
        hint = f"write {_LIMITS[0]} (of requests) and {_LIMITS[1]}, such as 65536"
        yield finding(output, "sinks", "each body is cut at 1 KiB", hint, "warning")


def _sink(sink: Node, *, by_admin: bool, native: bool) -> Iterator[Finding]:
    kinds = [kind for kind in _SINKS if field(sink, kind) is not None]
    if not kinds:
        yield finding(sink, "", f"{REFUSED}: a sink without a kind", f"one of {', '.join(_SINKS)}")
    form = _format(sink)
    if form not in _FORMATS:
        message = f"{REFUSED}: there is no format {form}"
        yield finding(sink, "format", message, f"one of {', '.join(_FORMATS)}")
        form = _FORMATS[0]
    for kind in kinds:
        yield from _kind(sink, kind, form, by_admin=by_admin, native=native)
    if form == "JSON_BODY_AS_STRING":
        yield finding(
            sink, "format", "bodies that are not UTF-8 are corrupted", "write JSON_BODY_AS_BYTES", "warning"
        )


def _kind(sink: Node, kind: str, form: str, *, by_admin: bool, native: bool) -> Iterator[Finding]:
    match kind:
        case "streaming_grpc" if not native:
            hint = "let the tap service fill the slot (docs/how-to/add-the-tap-slot.md), or use file_per_tap"
            yield finding(sink, kind, f"{ABORTS}: the sink streaming_grpc is not implemented in it", hint)
        case "custom_sink" if by_admin:
            yield finding(sink, kind, f"{ABORTS}: no custom sink can be given by /tap", "use streaming_admin")
        case "custom_sink":
            yield finding(sink, kind, f"{REFUSED}: no stock build has a custom sink", "use file_per_tap")
        case "file_per_tap" if not text(field(sink, kind), "path_prefix"):
            message = f"{REFUSED}: file_per_tap without path_prefix"
            yield finding(
                field(sink, kind) or sink, "path_prefix", message, "write where, and how files begin"
            )
        case "streaming_admin" | "buffered_admin" if not by_admin:
            hint = "use file_per_tap, or admin_config and POST /tap"
            yield finding(sink, kind, f"{REFUSED}: the sink {kind} is for POST /tap only", hint)
        case "streaming_admin" if form not in _JSON:
            yield finding(
                sink, "format", f"{ABORTS}: {kind} with the format {form}", "write JSON_BODY_AS_BYTES"
            )
        case "buffered_admin" if form not in _BUFFERED:
            hint = "write JSON_BODY_AS_BYTES or PROTO_BINARY_LENGTH_DELIMITED"
            yield finding(sink, "format", f"{ABORTS}: {kind} with the format {form}", hint)
        case "buffered_admin":
            yield from _max_traces(field(sink, kind) or sink)


def _max_traces(sink: Node) -> Iterator[Finding]:
    wanted = number(field(sink, "max_traces"))
    hint = f"write how many it waits for, at most {_MOST_TRACES}"
    if wanted is None or wanted < 1 or wanted % 1:
        message = f"{REFUSED}: buffered_admin without max_traces, or with one that is no number from 1 on"
        yield finding(sink, "max_traces", message, hint)
    elif wanted > _MOST_TRACES:
        yield finding(sink, "max_traces", f"{ABORTS}: it makes room for all of max_traces at once", hint)


def _is_uint32(node: Node) -> bool:
    found = number(node)
    return found is not None and 0 <= found < _UINT32 and not found % 1


def _format(sink: Node) -> str:
    form = field(sink, "format")
    if form is None:
        return _FORMATS[0]
    found = number(form)
    # 3.0 is none to Envoy.
    is_one = isinstance(found, int) and found in range(len(_FORMATS))
    return _FORMATS[int(found or 0)] if is_one else str(form.scalar)
