"""What is posted to `/tap` for sessions: the widest that one of them may want, as `envoy.admin.v3.TapRequest`."""

from collections.abc import Sequence
from typing import Any

from envoy_tap.core.predicate.headers import AllOf, AnyOf, HeaderTest, How, NoneOf, Tests, superset
from envoy_tap.core.session import Session

_ANY: dict[str, Any] = {"any_match": True}


def tap_request(config_id: str, sessions: Sequence[Session]) -> dict[str, Any]:
    """Return the body of `POST /tap`; Envoy streams whole exchanges, each once it is over."""
    body_bytes = max(session.limits.body_bytes for session in sessions)
    return {
        "config_id": config_id,
        "tap_config": {
            # No regex: one that Envoy does not like aborts it here. The judge decides by them.
            "match": match(superset(*(session.predicate for session in sessions), by_regex=False)),
            "output_config": {
                # JSON is the only kind of format that this sink has, and as strings it would corrupt bodies.
                "sinks": [{"format": "JSON_BODY_AS_BYTES", "streaming_admin": {}}],
                "max_buffered_rx_bytes": body_bytes,
                "max_buffered_tx_bytes": body_bytes,
            },
        },
    }


def socket_request(config_id: str, sessions: Sequence[Session]) -> dict[str, Any]:
    """Return the body of `POST /tap` for connections: Envoy streams each once it is over; headers tell it nothing."""
    request = tap_request(config_id, sessions)
    request["tap_config"]["match"] = _ANY
    return request


def match(tests: Tests) -> dict[str, Any]:
    """Return *tests* as envoy.config.common.matcher.v3.MatchPredicate."""
    match tests:
        case HeaderTest():
            return {"http_request_headers_match": {"headers": [_header(tests)]}}
        case NoneOf(term):
            return {"not_match": match(term)}
        case AllOf(()):
            return _ANY
        case AnyOf(()):
            return {"not_match": _ANY}
        case AllOf(terms):
            return {"and_match": {"rules": [match(term) for term in terms]}}
        case AnyOf(terms):
            return {"or_match": {"rules": [match(term) for term in terms]}}


def _header(test: HeaderTest) -> dict[str, Any]:
    match test.how:
        case How.PRESENT:
            return {"name": test.name, "present_match": True}
        case How.REGEX:
            raise ValueError("no regex may be posted to /tap")
        case _:
            kind = test.how.name.lower()
            return {
                "name": test.name,
                "string_match": {kind: test.text, "ignore_case": test.ignores_case},
            }
