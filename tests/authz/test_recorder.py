"""Which decisions are recorded, under which id, and what of them."""

from collections.abc import Sequence

from envoy_authz.core import (
    Action,
    Authentication,
    Condition,
    Operation,
    Policy,
    PolicySet,
    Refusal,
    Rule,
    Source,
    VerifiedToken,
)
from envoy_authz.core.record import Record, Seen
from envoy_authz.handler import Authorizer
from envoy_authz.wire import CheckAdapter, Recorder
from envoy_sidecar.pb import authz_pb2
from envoy_sidecar.transport.port import Call
from tests.authz.test_traps import Broken, Fixed, message


class Kept:
    """Keeps what it gets; of allowances it wants none unless told."""

    def __init__(self, *, allows: bool = False, denies: bool = True) -> None:
        self.records: list[Record] = []
        self._allows, self._denies = allows, denies

    def wants(self, *, allowed: bool) -> bool:
        return self._allows if allowed else self._denies

    def put(self, record: Record) -> None:
        self.records.append(record)


def paths(*texts: str) -> Rule:
    return Rule(operations=(Operation(paths=texts),))


POLICIES = PolicySet(
    [
        Policy("open", rules=(paths("/*"),)),
        Policy(
            "closed",
            action=Action.DENY,
            rules=(
                paths("/closed"),
                Rule(
                    (Source(not_principals=("td/web",)),),
                    (Operation(paths=("/x",), methods=("PUT",)),),
                    (Condition("request.headers[x-team]", ("red",)),),
                    ("request.auth.claims.level > 3",),
                ),
            ),
        ),
        Policy("seen", action=Action.AUDIT, rules=(paths("/audited"),)),
        Policy("soon", action=Action.DENY, rules=(paths("/soon"),), dry_run=True),
    ]
)


def ask(
    log: Kept, path: str, who: Authentication | None = None, attributes: Sequence[str] = (), **headers: str
) -> authz_pb2.CheckResponse:
    recorder = Recorder(log, POLICIES.facts, attributes)
    adapter = CheckAdapter(POLICIES, None if who is None else Fixed(who), recorder)
    return authz_pb2.CheckResponse.FromString(
        adapter.check(message(path, **headers).SerializeToString()).payload
    )


def id_of(response: authz_pb2.CheckResponse) -> str:
    if response.HasField("denied_response"):
        headers = response.denied_response.headers
    else:
        headers = response.ok_response.response_headers_to_add
    return next((one.header.value for one in headers if one.header.key == "x-envoy-authz-id"), "")


def test_a_denial_is_recorded_under_the_id_that_the_caller_sees() -> None:
    log = Kept()
    first, second = ask(log, "/closed"), ask(log, "/closed")
    assert [record.id for record in log.records] == [id_of(first), id_of(second)]
    assert len({*map(id_of, (first, second)), ""}) == 3
    record = log.records[0]
    assert (record.allowed, record.policy, record.rule, record.reason) == (
        False,
        "closed",
        0,
        "denied_by_policy",
    )
    assert (record.method, record.path, record.reads) == ("GET", "/closed", ("request.path",))


def test_an_allowance_is_recorded_when_it_is_sampled_and_the_answer_stays_one_that_allows() -> None:
    log = Kept()
    assert id_of(ask(log, "/x")) == ""
    assert log.records == []
    log = Kept(allows=True)
    who = Authentication(set_headers=(("x-user", "ann"),))
    response = ask(log, "/x", who)
    assert id_of(response) == log.records[0].id != ""
    assert response.status.code == 0
    assert [one.header.key for one in response.ok_response.headers] == ["x-user"]


def test_what_is_audited_or_would_be_denied_is_recorded_as_denials_are() -> None:
    log = Kept()
    ask(log, "/audited")
    ask(log, "/soon")
    assert [record.observed for record in log.records] == [
        (Seen("seen", "allow", "audited"),),
        (Seen("soon", "deny", "dry_run"),),
    ]
    assert all(record.allowed for record in log.records)


def test_a_denial_that_is_not_sampled_still_has_an_id() -> None:
    log = Kept(denies=False)
    assert id_of(ask(log, "/closed"))
    assert log.records == []


def test_the_decision_tells_what_it_read_and_the_record_the_values_that_were_asked_for() -> None:
    log = Kept()
    token = VerifiedToken("i", "ann", frozenset(), {"level": 4, "secret": "s"}, 2e9)
    request = message("/x", "PUT", x_team="red", authorization="Bearer s")
    keys = ("request.headers[x-team]", "request.auth.claims[level]", "request.body.json[a]")
    adapter = CheckAdapter(POLICIES, Fixed(Authentication((token,))), Recorder(log, POLICIES.facts, keys))
    adapter.check(request.SerializeToString())
    (record,) = log.records
    assert record.reads == (
        *("source.principal", "request.method", "request.path", "request.headers[x-team]"),
        "request.auth.claims",
    )
    assert dict(record.attributes) == {
        "request.headers[x-team]": ("red",),
        "request.auth.claims[level]": ("4",),
        "request.body.json[a]": (),
    }
    assert record.tokens == ("i/ann",)


def test_a_refusal_a_fault_and_nonsense_are_recorded() -> None:
    log = Kept()
    refused = ask(log, "/x", Authentication(refusal=Refusal("expired", "m", "Bearer")))
    assert (log.records[-1].id, log.records[-1].detail) == (id_of(refused), "expired")
    adapter = CheckAdapter(Broken(), recorder=Recorder(log, POLICIES.facts))
    checked = adapter.check(message("/x").SerializeToString())
    assert (log.records[-1].id, log.records[-1].reason) == (checked.error_id, "internal_error")
    adapter.check(b"\xff")
    assert (log.records[-1].reason, log.records[-1].path) == ("malformed_request", "")


def test_records_are_short_whatever_is_sent() -> None:
    log = Kept()
    ask(log, "/closed?" + "x" * 100_000, attributes=["request.headers[a]"], a="y" * 100_000)
    (record,) = log.records
    assert len(record.path) == 2048
    assert len(record.attributes[0][1][0]) == 256


def test_why_callers_were_refused_is_counted_by_a_bounded_number_of_words() -> None:
    authorizer = Authorizer(
        POLICIES, authenticator=Fixed(Authentication(refusal=Refusal("expired", "m", "Bearer")))
    )
    authorizer([Call(message("/x").SerializeToString())] * 3)
    assert authorizer.refusals.counts == {("expired",): 3}
    for number in range(1000):
        authorizer.refusals.add((f"word {number}",))
    assert len(authorizer.refusals.counts) == 101
    assert sum(authorizer.latency.counts) == 3
