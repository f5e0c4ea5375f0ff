"""Configurations that a real Envoy aborts on, refuses, or takes, each with what the lint says of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envoy_sidecar.config.documents import read_documents
from envoy_tap.lint.rules import check

Config = dict[str, Any]
TYPE = "type.googleapis.com/"
ANY = {"any_match": True}
GRPC = {"streaming_grpc": {"tap_id": "t", "grpc_service": {"envoy_grpc": {"cluster_name": "c"}}}}
FILE = {"file_per_tap": {"path_prefix": "/dev/null"}}
CUSTOM = {"custom_sink": {"name": "x", "typed_config": {"@type": f"{TYPE}google.protobuf.Struct"}}}
TRACES = str(2**64 - 1)


def by_header(**matcher: Any) -> Config:
    return {"http_request_headers_match": {"headers": [{"name": "a", **matcher}]}}


def by_regex(regex: str) -> Config:
    return by_header(string_match={"safe_regex": {"regex": regex}})


BAD = by_regex("(")
# An Envoy takes 100 of RE2's instructions.
LARGE = by_regex("(.*a){20}")
UNKNOWN = {"name": "x", "typed_config": {"@type": f"{TYPE}google.protobuf.Struct"}}
LUA = {
    "name": "envoy.string_matcher.lua",
    "typed_config": {
        "@type": f"{TYPE}envoy.extensions.string_matcher.lua.v3.Lua",
        "source_code": {"inline_string": "("},
    },
}


def tap_config(*sinks: Config, match: Config | None = ANY) -> Config:
    limits = {"max_buffered_rx_bytes": 1024, "max_buffered_tx_bytes": 1024}
    return {"output_config": {"sinks": list(sinks), **limits}, **({"match": match} if match else {})}


def loopback(port: int) -> Config:
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def bootstrap(
    filter_: Config | None = None,
    *,
    sockets: Mapping[str, Config] | None = None,
    of_route: Config | None = None,
) -> Config:
    """Return an Envoy configuration with a tap *filter_*, or with tapped *sockets* of the listener or the cluster.

    *of_route* is what its one route says of the filter.
    """
    http = "envoy.extensions.filters.http"
    filters = [
        {"name": "tap", "typed_config": {"@type": f"{TYPE}{http}.tap.v3.Tap", "common_config": filter_}}
    ]
    manager = {
        "@type": f"{TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200},
                            **({"typed_per_filter_config": {"tap": of_route}} if of_route else {}),
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            *(filters if filter_ else []),
            {"name": "router", "typed_config": {"@type": f"{TYPE}{http}.router.v3.Router"}},
        ],
    }
    tapped = {side: {"transport_socket": _socket(common)} for side, common in (sockets or {}).items()}
    return {
        "node": {"id": "edge-1", "cluster": "edge"},
        "admin": loopback(0),
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    **loopback(0),
                    "enable_reuse_port": False,
                    "filter_chains": [
                        {"filters": [{"name": "http", "typed_config": manager}], **tapped.get("listener", {})}
                    ],
                }
            ],
            "clusters": [
                {"name": "c", "type": "STATIC", "connect_timeout": "1s", **tapped.get("cluster", {})}
            ],
        },
    }


def _socket(common: Config) -> Config:
    at = f"{TYPE}envoy.extensions.transport_sockets"
    raw = {"name": "raw", "typed_config": {"@type": f"{at}.raw_buffer.v3.RawBuffer"}}
    return {
        "name": "tap",
        "typed_config": {"@type": f"{at}.tap.v3.Tap", "common_config": common, "transport_socket": raw},
    }


def static(*sinks: Config, match: Config | None = ANY) -> Config:
    return bootstrap({"static_config": tap_config(*sinks, match=match)})


def posted(*sinks: Config, match: Config | None = ANY) -> Config:
    return {"config_id": "on-demand", "tap_config": tap_config(*sinks, match=match)}


@dataclass(frozen=True)
class Case:
    config: Config
    says: str

    def found(self) -> list[str]:
        (document,) = read_documents(json.dumps(self.config), "tap.json")
        return [each.message for each in check(document)]


ABORTING = {
    "grpc sink": Case(static(GRPC), "aborts on this: the sink streaming_grpc"),
    "grpc sink of a listener's socket": Case(
        bootstrap(sockets={"listener": {"static_config": tap_config(GRPC)}}), "the sink streaming_grpc"
    ),
    "grpc sink of a cluster's socket": Case(
        bootstrap(sockets={"cluster": {"static_config": tap_config(GRPC)}}), "the sink streaming_grpc"
    ),
}
TAP = {
    "@type": f"{TYPE}envoy.extensions.filters.http.tap.v3.Tap",
    "common_config": {"admin_config": {"config_id": "x"}},
}
ROUTE = f"{TYPE}envoy.config.route.v3.FilterConfig"
ON_DEMAND = {"admin_config": {"config_id": "on-demand"}}
REFUSED = {
    "streaming admin sink": Case(static({"streaming_admin": {}}), "refuses this: the sink streaming_admin"),
    "buffered admin sink": Case(static({"buffered_admin": {"max_traces": 1}}), "the sink buffered_admin"),
    "no match": Case(static(FILE, match=None), "refuses this: a tap without match"),
    "no sink": Case(static(), "a tap has one sink, this has 0"),
    "two sinks": Case(static(FILE, FILE), "a tap has one sink, this has 2"),
    "sink of no kind": Case(static({"format": "JSON_BODY_AS_BYTES"}), "a sink without a kind"),
    "custom sink": Case(static(CUSTOM), "no stock build has a custom sink"),
    "no output": Case(bootstrap({"static_config": {"match": ANY}}), "a tap without output_config"),
    "empty static config": Case(bootstrap({"static_config": {}}), "a tap without output_config"),
    "no source": Case(bootstrap(sockets={"listener": {}}), "a tap has one source, this has 0"),
    "two sources": Case(bootstrap({**ON_DEMAND, "static_config": tap_config(FILE)}), "this has 2"),
    "no config id": Case(bootstrap({"admin_config": {"config_id": ""}}), "it has no config_id"),
    "empty match": Case(bootstrap({"static_config": {**tap_config(FILE), "match": {}}}), "this has 0"),
    "bad regex": Case(static(FILE, match=BAD), "RE2 can't read this regex"),
    "no format": Case(static({**FILE, "format": 7}), "there is no format 7"),
    "tap of a route": Case(bootstrap(ON_DEMAND, of_route=TAP), "no configuration of a route"),
    "tap in a filter config of a route": Case(
        bootstrap(ON_DEMAND, of_route={"@type": ROUTE, "config": TAP}), "no configuration of a route"
    ),
}
ABORTING_WHEN_POSTED = {
    "grpc sink": Case(posted(GRPC), "aborts on this: the sink streaming_grpc"),
    "no match": Case(posted({"streaming_admin": {}}, match=None), "aborts on this: a tap without match"),
    "custom sink": Case(posted(CUSTOM), "aborts on this: no custom sink"),
    **{
        name: Case(posted({"streaming_admin": {}}, match=match), says)
        for name, match, says in (
            ("bad regex", BAD, "Envoy aborts if RE2 can't read this regex"),
            ("large regex", LARGE, "or if its program is over 100"),
            ("bad regex of old", by_header(safe_regex_match={"regex": "("}), "can't read this regex"),
            (
                "bad regex of a trailer",
                {"not_match": {"http_response_trailers_match": BAD["http_request_headers_match"]}},
                "can't read this regex",
            ),
            ("unknown matcher", by_header(string_match={"custom": UNKNOWN}), "does not know this matcher"),
            ("bad matcher", by_header(string_match={"custom": LUA}), "does not like its configuration"),
        )
    },
    "bad regex in match_config": Case(
        {
            "config_id": "on-demand",
            "tap_config": {**tap_config({"streaming_admin": {}}, match=None), "match_config": BAD},
        },
        "can't read this regex",
    ),
    "more traces than there is room for": Case(
        posted({"buffered_admin": {"max_traces": TRACES}}), "it makes room for all of max_traces"
    ),
    "number of a format in quotes": Case(
        posted({"streaming_admin": {}, "format": "3"}), "with the format PROTO_BINARY_LENGTH_DELIMITED"
    ),
    **{
        f"{sink} {form}": Case(
            posted({sink: options, "format": form}), f"aborts on this: {sink} with the format {form}"
        )
        for sink, options, form in (
            ("streaming_admin", {}, "PROTO_BINARY_LENGTH_DELIMITED"),
            ("streaming_admin", {}, "PROTO_TEXT"),
            ("buffered_admin", {"max_traces": 1}, "PROTO_BINARY"),
            ("buffered_admin", {"max_traces": 1}, "PROTO_TEXT"),
        )
    },
}
REFUSED_MATCHES: dict[str, tuple[Config, str]] = {
    "no condition": ({}, "a match is one condition, this has 0"),
    "two conditions": ({"any_match": True, "not_match": ANY}, "this has 2"),
    "unknown condition": ({"all_match": True}, "a match knows no all_match"),
    "any_match of false": ({"any_match": False}, "any_match can only be true"),
    "no condition to negate": ({"not_match": {}}, "this has 0"),
    "all of none": ({"and_match": {}}, "and_match takes two rules or more, this has 0"),
    "all of one": ({"and_match": {"rules": [ANY]}}, "and_match takes two rules or more, this has 1"),
    "one of one": ({"or_match": {"rules": [ANY]}}, "or_match takes two rules or more, this has 1"),
    "no condition inside": ({"or_match": {"rules": [ANY, {}]}}, "this has 0"),
    "header without name": (by_header(name="", present_match=True), "a header without name"),
    "no text": (by_header(string_match={}), "it says no text"),
    "empty prefix": (by_header(string_match={"prefix": ""}), "prefix is empty"),
    "empty suffix of old": (by_header(suffix_match=""), "suffix_match is empty"),
    "body without patterns": ({"http_request_generic_body_match": {}}, "without patterns"),
    "empty pattern": (
        {"http_response_generic_body_match": {"patterns": [{"string_match": ""}]}},
        "an empty pattern",
    ),
}
REFUSED_WHEN_POSTED = {
    "no sink": Case(posted(), "a tap has one sink, this has 0"),
    "no tap config": Case({"config_id": "on-demand"}, "it has no tap_config"),
    "empty tap config": Case({"config_id": "on-demand", "tap_config": {}}, "a tap without output_config"),
    "no config id": Case({"tap_config": tap_config({"streaming_admin": {}})}, "it has no config_id"),
    "empty config id": Case(posted({"streaming_admin": {}}) | {"config_id": ""}, "it has no config_id"),
    "empty match": Case(
        {"config_id": "on-demand", "tap_config": {**tap_config({"streaming_admin": {}}), "match": {}}},
        "a match is one condition, this has 0",
    ),
    "no path": Case(posted({"file_per_tap": {}}), "file_per_tap without path_prefix"),
    "a limit of 33 bits": Case(
        {
            "config_id": "on-demand",
            "tap_config": {
                "output_config": {"sinks": [{"streaming_admin": {}}], "max_buffered_rx_bytes": 2**32},
                "match": ANY,
            },
        },
        "max_buffered_rx_bytes is no number of 32 bits",
    ),
    "no share": Case(
        {"config_id": "on-demand", "tap_config": {**tap_config({"streaming_admin": {}}), "tap_enabled": {}}},
        "tap_enabled without default_value",
    ),
    **{
        f"max_traces {traces}": Case(
            posted({"buffered_admin": {"max_traces": traces}}), "buffered_admin without max_traces"
        )
        for traces in (0, -1, "0", "many", 1.5, True)
    },
    **{
        f"format {form}": Case(
            posted({"streaming_admin": {}, "format": form}), f"refuses this: there is no format {form}"
        )
        for form in (7, -1, "3.0", "JSON", True)
    },
    **{
        name: Case(posted({"streaming_admin": {}}, match=match), says)
        for name, (match, says) in REFUSED_MATCHES.items()
        if match
    },
}
# All that a match can say, at its edges.
TAKEN: list[Config] = [
    ANY,
    {"any_match": "yes"},
    {"not_match": ANY},
    {"and_match": {"rules": [ANY, ANY]}},
    by_header(),
    by_header(present_match=True, invert_match=True),
    by_header(string_match={"exact": ""}, treat_missing_header_as_empty=True),
    by_header(string_match={"prefix": "\0é", "ignore_case": True}),
    by_header(range_match={"start": 10, "end": 1}),
    by_header(exact_match=""),
    {"http_request_headers_match": {}},
    {"http_response_trailers_match": {"headers": []}},
    {"http_request_generic_body_match": {"bytes_limit": 1, "patterns": [{"string_match": "longer"}]}},
    {"http_response_generic_body_match": {"bytes_limit": 2**32 - 1, "patterns": [{"binary_match": "AA=="}]}},
]
