"""The guard: what two readers of a path would decide differently is denied, and nothing else is."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.core import (
    Action,
    Operation,
    Options,
    PathAmbiguity,
    Policy,
    PolicySet,
    Reason,
    Request,
    Rule,
)
from envoy_authz.core.paths import Normalization
from envoy_authz.wire import CheckAdapter
from envoy_sidecar.pb import authz_pb2


def policies(
    mode: PathAmbiguity = PathAmbiguity.DENY, normalization: Normalization = Normalization.BASE
) -> PolicySet:
    return PolicySet(
        [
            Policy("open", "shop", rules=(Rule(operations=(Operation(paths=("/*",)),)),)),
            Policy(
                "no-admin",
                "shop",
                Action.DENY,
                (
                    Rule(
                        operations=(
                            Operation(paths=("/admin", "/admin/*")),
                            Operation(hosts=("admin.example",)),
                        )
                    ),
                ),
            ),
        ],
        options=Options(path_ambiguity=mode, normalization=normalization),
    )


AMBIGUOUS = [
    "//admin",
    "/public//../admin",
    "/public/..%2fadmin",
    "/public/%2e%2e%2fadmin",
    "/%2561dmin",
    "/public/%252e%252e/admin",
    "/public/..;/admin",
    "/admin;v=1",
    "/admin;/x",
    "/admin%00.png",
    "/admin%3Fx",
    "/admin%23x",
    "/public#/../admin",
    "/public/..%5cadmin",
    "//host/admin",
    "/adm%09in",
]
PLAIN = [
    *("/", "/x", "/x/", "/orders/1?next=/admin", "/orders/1?next=%2Fadmin", "/a//b", "/a%2Fb", "/a;b=c"),
    *("/caf%C3%A9", "/a%20b", "/100%25", "/x/../y", "/%ff", "/.well-known/x", "/a;b/admin", "/x%00"),
]


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_a_path_that_another_reader_takes_for_a_denied_one_is_denied(path: str) -> None:
    outcome = policies().evaluate(Request("GET", path))
    assert not outcome.decision.allowed
    assert outcome.decision.reason is Reason.AMBIGUOUS_PATH
    assert (outcome.decision.policy, outcome.decision.rule) == ("shop/no-admin", 0)
    assert outcome.ambiguity is not None
    assert outcome.ambiguity.other.startswith("/admin")


@pytest.mark.parametrize("path", PLAIN)
def test_a_path_that_is_odd_and_harmless_is_allowed(path: str) -> None:
    assert policies().evaluate(Request("GET", path)).ambiguity is None
    assert policies().decide(Request("GET", path)).allowed


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_report_allows_and_says_so_and_off_says_nothing(path: str) -> None:
    reported = policies(PathAmbiguity.REPORT).evaluate(Request("GET", path))
    assert reported.decision.allowed
    assert reported.ambiguity is not None
    off = policies(PathAmbiguity.OFF).evaluate(Request("GET", path))
    assert off.decision.allowed
    assert off.ambiguity is None


@pytest.mark.parametrize("host", ["admin.example:443", "admin.example.", "ADMIN.example.:80"])
def test_a_host_with_a_port_or_a_dot_does_not_get_around_a_denial(host: str) -> None:
    outcome = policies().evaluate(Request("GET", "/", host=host))
    assert outcome.ambiguity is not None
    assert (outcome.decision.allowed, outcome.ambiguity.what) == (False, "host")
    assert policies().decide(Request("GET", "/", host="shop.example:443")).allowed


def test_a_host_and_a_path_that_are_both_odd_do_not_get_around_a_denial() -> None:
    admin = Rule(operations=(Operation(hosts=("admin.example",), paths=("/secret",)),))
    guarded = PolicySet([Policy("open", rules=(Rule(),)), Policy("d", action=Action.DENY, rules=(admin,))])
    for host, path in (("admin.example:443", "//secret"), ("u@admin.example", "/x/..%2fsecret")):
        assert guarded.decide(Request("GET", path, host=host)).reason is Reason.AMBIGUOUS_PATH
    assert guarded.decide(Request("GET", "//other", host="admin.example:443")).allowed


@pytest.mark.parametrize("host", ["admin.example:443", "admin.example.", "x@admin.example"])
def test_what_an_allowance_spares_is_spared_in_every_spelling(host: str) -> None:
    spared = Rule(operations=(Operation(paths=("/*",), not_hosts=("admin.example",)),))
    named = Rule(operations=(Operation(hosts=("shop.example:*",)),))
    guarded = PolicySet([Policy("a", rules=(spared, named))])
    outcome = guarded.evaluate(Request("GET", "/", host=host))
    assert outcome.ambiguity is not None
    assert (outcome.decision.allowed, outcome.decision.reason) == (False, Reason.AMBIGUOUS_PATH)
    for other in ("other.example:443", "shop.example:443"):
        assert guarded.decide(Request("GET", "/", host=other)).allowed


def test_a_denied_request_is_denied_for_its_own_reason() -> None:
    assert policies().decide(Request("GET", "/%61dmin")).reason is Reason.DENIED_BY_POLICY


def test_the_same_ambiguity_gives_the_same_decision() -> None:
    guarded = policies()
    assert guarded.decide(Request("GET", "//admin")) is guarded.decide(Request("GET", "/admin;x"))


@pytest.mark.parametrize(
    ("mode", "path", "denied"),
    [
        (Normalization.NONE, "/x/../admin", False),
        (Normalization.BASE, "/x/../admin", True),
        (Normalization.BASE, "//admin", False),
        (Normalization.MERGE_SLASHES, "//admin", True),
        (Normalization.MERGE_SLASHES, "/x/..%2fadmin", False),
        (Normalization.DECODE_AND_MERGE_SLASHES, "/x/..%2fadmin", True),
        (Normalization.DECODE_AND_MERGE_SLASHES, "/x/..%5Cadmin", True),
        (Normalization.DECODE_AND_MERGE_SLASHES, "/x/..%252fadmin", False),
    ],
)
def test_each_normalization_reads_a_path_as_istio_does(
    mode: Normalization, path: str, *, denied: bool
) -> None:
    unguarded = policies(PathAmbiguity.OFF, normalization=mode)
    assert unguarded.decide(Request("GET", path)).allowed is not denied
    assert not policies(normalization=mode).decide(Request("GET", path)).allowed


def test_the_log_names_the_rule_and_both_readings(caplog: pytest.LogCaptureFixture) -> None:
    message = authz_pb2.CheckRequest()
    message.attributes.request.http.method = "GET"
    message.attributes.request.http.path = "/public/..;/admin?secret=1"
    with caplog.at_level(logging.WARNING):
        checked = CheckAdapter(policies()).check(message.SerializeToString())
    assert checked.labels == ("deny", "shop/no-admin", "ambiguous_path")
    (record,) = caplog.records
    said = vars(record)
    assert (said["reading"], said["other_reading"]) == ("/public/..;/admin", "/admin")
    assert (said["policy"], said["rule"]) == ("shop/no-admin", 0)


@given(
    st.text(), st.lists(st.sampled_from(["%", "2", "5", "e", "f", "/", ".", ";", "\\", "#", "?", "admin"]))
)
def test_the_guard_never_raises_and_never_allows_more(text: str, parts: list[str]) -> None:
    for path in (text, "/" + "".join(parts)):
        request = Request("GET", path)
        if policies().decide(request).allowed:
            assert policies(PathAmbiguity.OFF).decide(request).allowed


def test_an_odd_path_that_is_too_long_to_be_read_in_every_way_is_denied() -> None:
    outcome = policies().evaluate(Request("GET", "/" + "%2e%2e%252f;a//" * 4000))
    assert outcome.decision.reason is Reason.AMBIGUOUS_PATH
    assert outcome.ambiguity is not None
    assert outcome.ambiguity.other.startswith("too long")
    assert policies().decide(Request("GET", "/" + "a" * 100_000)).allowed
    assert policies().decide(Request("GET", "/a%20b?" + "%2e" * 100_000)).allowed
