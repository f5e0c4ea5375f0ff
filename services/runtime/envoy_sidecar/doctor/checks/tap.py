"""The tap slot, and what of Envoy's own tap filter ends the proxy."""

from collections.abc import Iterator

from envoy_sidecar.config.documents import Node
from envoy_sidecar.doctor import model, view
from envoy_sidecar.doctor.checks import fragments
from envoy_sidecar.doctor.diagnosis import Diagnosis, Mend, Part, Severity
from envoy_sidecar.doctor.model import Configuration, HttpFilter, Manager

_CLUSTER = "envoy_tap"


def check(configuration: Configuration) -> Iterator[Diagnosis]:
    """Look at every slot, and for a sink anywhere that a stock Envoy does not survive."""
    slots = False
    for manager in configuration.managers:
        slot = manager.tap_slot()
        discovery = view.field(slot.entry, "config_discovery") if slot else None
        if slot is None or discovery is None:
            continue
        slots = True
        yield from _before_it_is_filled(manager, discovery)
        yield from _source(manager, discovery)
        yield from _order(manager, slot)
    if slots:
        yield from _identity(configuration)
    yield from _sinks(configuration)


def _before_it_is_filled(manager: Manager, discovery: Node) -> Iterator[Diagnosis]:
    if view.typed(view.field(discovery, "default_config")) is None:
        yield _part(manager, discovery).found(
            "tap-no-default",
            "error",
            "the slot has no default_config",
            "until tap has pushed something, and after what it pushed has expired, every request is answered 500",
            mend={"default_config": fragments.no_op()},
        )
    if not view.flag(discovery, "apply_default_config_without_warming"):
        yield _part(manager, discovery).found(
            "tap-waits-at-start",
            "error",
            "apply_default_config_without_warming is not set",
            "Envoy's listener waits for tap at the start: with tap away there is no traffic",
            mend={"apply_default_config_without_warming": True},
        )
    lacking = {*model.SLOT_TYPES} - {
        str(item.scalar).rpartition("/")[2] for item in view.items(discovery, "type_urls")
    }
    if lacking:
        yield _part(manager, discovery).found(
            "tap-types",
            "error",
            f"type_urls lacks {', '.join(sorted(name.rpartition('.')[2] for name in lacking))}",
            "Envoy refuses (NACKs) what tap pushes of a type that is not listed",
            mend={"type_urls": fragments.slot_types()},
            where=view.field(discovery, "type_urls"),
        )


def _source(manager: Manager, discovery: Node) -> Iterator[Diagnosis]:
    source = view.field(discovery, "config_source")
    path = view.field(source, "path_config_source") or view.field(source, "path")
    mend: dict[str, object] = {"config_source": fragments.grpc_source(_CLUSTER)}
    if path is not None:
        yield _part(manager, discovery).found(
            "tap-no-ttl",
            "warning",
            "the slot is filled from a file",
            "a file has no time to live: when what writes it dies, only the time in the script itself ends a session",
            mend=mend,
            where=path,
        )
        return
    api = view.text(source, "api_config_source", "api_type")
    if view.field(source, "api_config_source") is not None and api not in {"GRPC", "2"}:
        yield _part(manager, discovery).found(
            "tap-api-type",
            "error",
            f"the slot's api_type is {api or 'not set'}",
            "tap serves the slot by state-of-the-world gRPC alone, and REST has no time to live",
            mend=mend,
            where=view.field(source, "api_config_source"),
        )


def _order(manager: Manager, slot: HttpFilter) -> Iterator[Diagnosis]:
    before = [
        each.name
        for each in manager.filters
        if each.type in {model.EXT_AUTHZ, model.RATELIMIT} and manager.is_before(each, slot)
    ]
    if before:
        yield Diagnosis(
            "tap-behind-others",
            "tap",
            "note",
            slot.entry,
            f"the slot stands behind {', '.join(before)}",
            "what they refuse can't be captured; move the slot to the front of http_filters",
        )


def _identity(configuration: Configuration) -> Iterator[Diagnosis]:
    node = configuration.node
    lacking: dict[str, object] = {
        name: f"edge{suffix}" for name, suffix in (("id", "-1"), ("cluster", "")) if not view.text(node, name)
    }
    if not lacking:
        return
    part = (
        Part("tap", node, "node of the bootstrap")
        if node
        else Part("tap", configuration.root, "the bootstrap")
    )
    yield part.found(
        "tap-node",
        "error",
        f"node.{' and node.'.join(lacking)} not set",
        "an xDS source needs both, and tap tells proxies apart by them (--service-node and --service-cluster set them too)",
        mend=lacking if node is not None else {"node": lacking},
    )


def _sinks(configuration: Configuration) -> Iterator[Diagnosis]:
    for node in model.walk([*configuration.listeners, *configuration.clusters.values()]):
        for sink in view.items(node, "sinks"):
            if view.field(sink, "streaming_grpc") is None:
                continue
            yield Diagnosis(
                "tap-streaming-grpc",
                "tap",
                "error",
                sink,
                "a tap has the sink streaming_grpc",
                "a stock Envoy aborts on it (`panic: not implemented`), also at --mode validate; the slot does without",
                (
                    Mend(
                        "the output_config there",
                        node,
                        {"sinks": [{"file_per_tap": {"path_prefix": "/dev/null"}}]},
                    ),
                ),
            )
    for manager in configuration.managers:
        static = manager.first(model.TAP)
        admin = view.field(static.config, "common_config", "admin_config") if static else None
        if admin is not None:
            yield Diagnosis(
                "tap-by-admin",
                "tap",
                "warning",
                admin,
                "a tap filter has admin_config",
                "whoever reaches the admin interface reads requests unredacted, and a wrong body of POST /tap ends the proxy; "
                "take the filter out",
            )


def missing(configuration: Configuration, severity: Severity) -> Iterator[Diagnosis]:
    """Say that there is no slot."""
    if configuration.managers and not any(each.tap_slot() for each in configuration.managers):
        manager = configuration.managers[0]
        yield Diagnosis(
            "tap-missing",
            "tap",
            severity,
            manager.node,
            "no listener has a tap slot",
            "nothing can be captured without a change of Envoy's configuration",
            fragments.call("tap", configuration, manager),
        )


def _part(manager: Manager, discovery: Node) -> Part:
    return Part("tap", discovery, manager.where("the config_discovery of the tap slot"))
