"""A session ends when it should, takes no more than it may, and its counters add up."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Exchange, Message, Node
from envoy_tap.core.node import Locality, NodeSelector, Proxy
from envoy_tap.core.redaction.rules import Pattern
from envoy_tap.core.session import MAXIMA, Limits, Progress, Session, SessionError, State, Verdict
from envoy_tap.core.spec import as_object, requested, stored
from tests.tap.building import REQUEST, exchange, session

NOW_S = 1_000_000.0
WHY = {"why": "INC-1"}


def asked(**more: Any) -> Session:
    return requested({**WHY, **more}, session_id="a" * 12, who="alice", now_s=NOW_S)


def progress(predicate: str = "all", **limits: int) -> Progress:
    return Progress(session(predicate=predicate, limits=Limits(**limits)))


def test_a_session_ends_by_itself() -> None:
    found = progress()
    assert found.at(NOW_S + 599) is State.ACTIVE
    assert found.judge(exchange(), NOW_S + 599) is Verdict.CAPTURED
    assert found.judge(exchange(), NOW_S + 600) is Verdict.LATE
    assert (found.state, found.ended_at_s) == (State.EXPIRED, NOW_S + 600)
    assert not found.stop(NOW_S + 601, "bob")


def test_a_stopped_session_takes_nothing_more() -> None:
    found = progress()
    assert found.stop(NOW_S, "bob")
    assert found.judge(exchange(), NOW_S) is Verdict.LATE
    assert (found.state, found.ended_by) == (State.STOPPED, "bob")
    assert found.at(NOW_S + 10_000) is State.STOPPED


def test_a_session_is_used_up_by_exchanges() -> None:
    found = progress(exchanges=2)
    verdicts = [found.judge(exchange(), NOW_S) for _ in range(3)]
    assert verdicts == [Verdict.CAPTURED, Verdict.CAPTURED, Verdict.LATE]
    assert found.state is State.EXHAUSTED


def test_a_session_is_used_up_by_bytes() -> None:
    size = exchange().content_bytes
    found = progress(bytes=2 * size + 1)
    verdicts = [found.judge(exchange(), NOW_S) for _ in range(4)]
    assert verdicts == [Verdict.CAPTURED, Verdict.CAPTURED, Verdict.OVER_LIMIT, Verdict.LATE]
    assert found.counts["bytes"] == 2 * size


def test_the_rate_is_of_each_second() -> None:
    found = progress(rate_per_s=2)
    seconds = [NOW_S, NOW_S + 0.5, NOW_S + 0.9, NOW_S + 1, NOW_S + 1.1, NOW_S + 1.2]
    verdicts = [found.judge(exchange(), now_s) for now_s in seconds]
    assert verdicts == [Verdict.CAPTURED, Verdict.CAPTURED, Verdict.OVER_RATE] * 2


def test_what_a_proxy_let_through_is_decided_again() -> None:
    found = progress("status=5xx")
    assert found.judge(exchange(), NOW_S) is Verdict.UNMATCHED
    failed = replace(exchange(), response=Message(((":status", b"503"),)))
    assert found.judge(failed, NOW_S) is Verdict.CAPTURED
    elsewhere = Progress(session(nodes=NodeSelector(ids=("edge-2",))))
    assert elsewhere.judge(exchange(), NOW_S) is Verdict.OTHER_NODE
    assert found.judge(failed, NOW_S, forbidden=True) is Verdict.FORBIDDEN


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["judge", "lose", "stop"]), st.floats(0, 700), st.sampled_from([b"200", b"503"])
        )
    ),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 200),
)
def test_the_counters_add_up(
    steps: list[tuple[str, float, bytes]], exchanges: int, rate: int, size: int
) -> None:
    found = progress("status=5xx", exchanges=exchanges, rate_per_s=rate, bytes=size)
    captured: list[Exchange] = []
    for step, at_s, status in steps:
        seen = exchange(REQUEST, Message(((":status", status),)), truncated=status == b"503")
        if step == "judge" and found.judge(seen, NOW_S + at_s) is Verdict.CAPTURED:
            captured.append(seen)
        elif step == "lose" and captured:
            found.lose(captured.pop())
        elif step == "stop":
            found.stop(NOW_S + at_s, "bob")
    counts = found.counts
    assert counts["seen"] == sum(counts[verdict] for verdict in Verdict)
    assert counts["captured"] == len(captured) == counts["truncated"] <= exchanges
    assert counts["bytes"] == sum(each.content_bytes for each in captured) <= size


def test_defaults_are_safe() -> None:
    found = asked()
    assert (found.expires_at_s, found.limits.body_bytes, found.limits.exchanges) == (NOW_S + 600, 65536, 1000)
    assert {"authorization", "cookie", "set-cookie"} <= found.redaction.headers


def test_first_is_a_limit_of_exchanges() -> None:
    assert asked(predicate="first(3)").limits.exchanges == 3
    assert asked(predicate="first(3)", limits={"exchanges": 2}).limits.exchanges == 2


FULL = {
    "predicate": 'status = 5xx and path = "/a"',
    "nodes": {
        "ids": ["edge-*"],
        "clusters": ["edge"],
        "metadata": {"env": "prod"},
        "locality": {"region": "eu"},
    },
    "limits": {"duration_s": 60, "exchanges": 5, "bytes": 1000, "body_bytes": 0, "rate_per_s": 7},
    "redaction": {
        "headers": ["X-Mine"],
        "query": ["q"],
        "names": ["n"],
        "paths": ["a[*].b"],
        "patterns": ["jwt"],
        "style": "hmac",
    },
}


def test_no_session_takes_a_pattern_away() -> None:
    for patterns in ([], ["jwt"]):
        asked = {"why": "x", "redaction": {"patterns": patterns}}
        assert requested(asked, session_id="a", who="b", now_s=0.0).redaction.patterns == frozenset(Pattern)


@pytest.mark.parametrize("data", [{}, FULL], ids=["defaults", "everything"])
def test_a_session_that_is_stored_reads_back(data: dict[str, Any]) -> None:
    found = asked(**data)
    assert stored(as_object(found)) == found


@pytest.mark.parametrize(
    ("data", "path", "said"),
    [
        ({"why": None}, "why", "needs a reason"),
        ({"why": "  "}, "why", "needs a reason"),
        ({"why": "a\nb"}, "why", "one line"),
        ({"reason": "x"}, "session", "'reason' is not known here"),
        ({"predicate": "path=x"}, "predicate", "1:6: 'x' is not a path"),
        ({"predicate": 1}, "predicate", "must be text, is int"),
        ({"limits": {"byte": 1}}, "limits", "did you mean bytes?"),
        ({"limits": {"bytes": True}}, "limits.bytes", "not a whole number"),
        ({"limits": {"bytes": MAXIMA.bytes + 1}}, "limits.bytes", "out of range"),
        ({"limits": {"duration_s": 0}}, "limits.duration_s", "1 to 86400 here"),
        ({"limits": []}, "limits", "must be a mapping"),
        ({"nodes": {"ids": "edge"}}, "nodes.ids", "must be a list of texts"),
        ({"nodes": {"ids": [""]}}, "nodes.ids", "empty"),
        ({"nodes": {"ids": ["x"] * 65}}, "nodes.ids", "more than 64"),
        ({"nodes": {"metadata": {"a": 1}}}, "nodes.metadata.a", "must be text"),
        ({"nodes": {"locality": {"city": "x"}}}, "nodes.locality", "'city' is not known"),
        ({"redaction": {"paths": ["a..b"]}}, "redaction.paths", "not a path into JSON"),
        ({"redaction": {"patterns": ["iban"]}}, "redaction.patterns", "known are card, email, jwt, userinfo"),
        ({"redaction": {"style": "none"}}, "redaction.style", "known are mask, hmac"),
        ({"redaction": {"headers": ["a\n"]}}, "redaction.headers", "not printable"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_named(data: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(SessionError) as refused:
        asked(**data)
    assert refused.value.path == path
    assert said in str(refused.value)


def test_what_is_no_mapping_is_no_session() -> None:
    with pytest.raises(SessionError, match="must be a mapping, is list"):
        requested([], session_id="a", who="alice", now_s=0)


@pytest.mark.parametrize(
    ("selector", "is_selected"),
    [
        (NodeSelector(), True),
        (NodeSelector(ids=("x", "edge-*")), True),
        (NodeSelector(ids=("edge-2",)), False),
        (NodeSelector(clusters=("edge",), metadata=(("a.b", "1"),)), True),
        (NodeSelector(metadata=(("a.b", "1"), ("c", "2"))), False),
        (NodeSelector(locality=Locality(region="eu")), True),
        (NodeSelector(locality=Locality(region="eu", zone="2")), False),
    ],
)
def test_which_proxies_are_selected(selector: NodeSelector, is_selected: bool) -> None:
    proxy = Proxy(Node("edge-1", "edge"), (("a.b", "1"), ("d", "x")), Locality("eu", "1"))
    assert selector.selects(proxy) is is_selected
