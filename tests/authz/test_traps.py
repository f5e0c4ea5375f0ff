"""The traps of the Check API, each by its number in docs and issue, held by name."""

import logging
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.core import (
    Action,
    Authentication,
    Condition,
    Mutation,
    Operation,
    Outcome,
    Policy,
    PolicySet,
    Refusal,
    Request,
    RequestView,
    Rule,
    Setting,
    Source,
    VerifiedToken,
)
from envoy_authz.handler import Authorizer
from envoy_authz.wire import CheckAdapter, View, allowed_response, denied_response, refused_response
from envoy_sidecar.pb import authz_pb2, common_pb2
from envoy_sidecar.transport.port import Call, Failure

OPEN = Policy("open", rules=(Rule(),))
OVERWRITE = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD


def message(path: str = "/", method: str = "GET", **headers: str) -> authz_pb2.CheckRequest:
    request = authz_pb2.CheckRequest()
    http = request.attributes.request.http
    http.method, http.path = method, path
    for name, value in headers.items():
        http.headers[name.replace("_", "-")] = value
    return request


def answered(
    policies: PolicySet, request: authz_pb2.CheckRequest, who: "Fixed | None" = None
) -> CheckResponse:
    return CheckResponse.parse(CheckAdapter(policies, who).check(request.SerializeToString()).payload)


def code(response: CheckResponse) -> int:
    assert response.status is not None
    return response.status.code


class Fixed:
    def __init__(self, found: Authentication) -> None:
        self._found = found

    def authenticate(self, request: RequestView) -> Authentication:
        assert request.method
        return self._found


def header_rule(name: str, *values: str) -> Rule:
    return Rule(when=(Condition(f"request.headers[{name}]", values),))


def denying(rule: Rule) -> PolicySet:
    return PolicySet([OPEN, Policy("d", action=Action.DENY, rules=(rule,))])


REFUSAL = Refusal("expired", "the token is expired", 'Bearer error="invalid_token"')


def test_trap_1_no_answer_is_the_empty_one_and_a_denial_says_so_twice() -> None:
    denied = PolicySet([]).decide(Request("GET", "/"))
    for payload in (denied_response(denied), refused_response(REFUSAL)):
        response = CheckResponse.parse(payload)
        assert code(response) != 0
        assert response.denied_response is not None
    allowed = CheckResponse.parse(allowed_response())
    assert (code(allowed), allowed.ok_response is not None) == (0, True)
    assert allowed_response() != b""


def test_trap_2_every_header_overwrites_and_append_is_never_set() -> None:
    mutation = Mutation(set_headers=(Setting("x-user", "alice"),))
    response = answered(
        PolicySet([Policy("p", rules=(Rule(),), mutation=mutation)]),
        message(),
        Fixed(Authentication(set_headers=(("x-sub", "a"),))),
    )
    assert response.ok_response is not None
    assert {option.header.key for option in response.ok_response.headers if option.header} == {
        "x-user",
        "x-sub",
    }
    for option in response.ok_response.headers:
        assert (option.append, option.append_action) == (None, OVERWRITE)


def test_trap_3_a_header_is_set_or_removed_and_an_identity_that_is_not_set_is_removed() -> None:
    mutation = Mutation(
        set_headers=(Setting("x-user", source="request.auth.claims[sub]"),),
        remove_headers=("X-Sub", "Host", ":path"),
    )
    found = Authentication(
        set_headers=(("x-sub", "a"), ("x-bad", "a\nb")), remove_headers=("x-email", "X-SUB")
    )
    response = answered(PolicySet([Policy("p", rules=(Rule(),), mutation=mutation)]), message(), Fixed(found))
    assert response.ok_response is not None
    assert [option.header.key for option in response.ok_response.headers if option.header] == ["x-sub"]
    assert sorted(response.ok_response.headers_to_remove) == ["x-bad", "x-email", "x-user"]


def test_trap_4_query_parameters_are_encoded_here() -> None:
    mutation = Mutation(set_query=(Setting("a b", "c&d=e#f\u00e9"),), remove_query=("x y",))
    response = answered(PolicySet([Policy("p", rules=(Rule(),), mutation=mutation)]), message())
    assert response.ok_response is not None
    (parameter,) = response.ok_response.query_parameters_to_set
    assert (parameter.key, parameter.value) == ("a%20b", "c%26d%3De%23f%C3%A9")
    assert response.ok_response.query_parameters_to_remove == ["x%20y"]


@pytest.mark.parametrize(
    "path", ["/admin?x=/public", "//admin/x", "/admin#/public", "/ad\tmin", "/public/../admin"]
)
def test_trap_5_the_query_is_cut_by_hand_and_no_spelling_gets_around(path: str) -> None:
    admin = Rule(operations=(Operation(paths=("/admin", "/admin/*")),))
    assert code(answered(denying(admin), message(path))) == 7


def test_trap_6_each_value_of_a_repeated_header_counts_in_both_encodings() -> None:
    policies = denying(header_rule("x-role", "admin"))
    assert code(answered(policies, message(x_role="user,admin"))) == 7
    assert code(answered(policies, message(x_role="user"))) == 0
    raw = message()
    lines = raw.attributes.request.http.header_map.headers
    for value in (b"user", b"admin"):
        lines.append(common_pb2.HeaderValue(key="X-Role", raw_value=value))
    assert code(answered(policies, raw)) == 7
    allow = PolicySet([Policy("a", rules=(header_rule("x-role", "admin"),))])
    assert code(answered(allow, raw)) == 7


def test_trap_7_method_host_and_path_are_not_read_from_headers() -> None:
    request = message("/public", **{":path": "/admin", ":method": "PUT", ":authority": "evil"})
    request.attributes.request.http.host = "shop.example"
    rule = Rule(operations=(Operation(methods=("GET",), paths=("/public",), hosts=("shop.example",)),))
    assert code(answered(PolicySet([Policy("a", rules=(rule,))]), request)) == 0
    for key, value in ((":path", "/public"), (":method", "GET"), (":authority", "shop.example")):
        assert code(answered(PolicySet([Policy("a", rules=(header_rule(key, value),))]), request)) == 0


@pytest.mark.parametrize(
    "principal", ["web.shop.example", "CN=web,O=/sa/web", "", "spiffe:/td/ns/shop/sa/web"]
)
def test_trap_8_only_a_spiffe_identity_is_a_principal(principal: str) -> None:
    request = message()
    request.attributes.source.principal = principal
    for source in (
        Source(principals=("*/sa/web", "td/*")),
        Source(namespaces=("shop",)),
        Source(trust_domains=("td",)),
        Source(service_accounts=("shop/web",)),
    ):
        assert code(answered(PolicySet([Policy("a", rules=(Rule((source,)),))]), request)) == 7


def test_trap_9_the_clients_address_and_service_are_not_what_it_says() -> None:
    request = message(x_forwarded_for="10.0.0.1")
    request.attributes.source.service = "10.0.0.1"
    request.attributes.source.address.socket_address.address = "203.0.113.1"
    for source in (Source(ip_blocks=("10.0.0.0/8",)), Source(remote_ip_blocks=("10.0.0.0/8",))):
        assert code(answered(PolicySet([Policy("a", rules=(Rule((source,)),))]), request)) == 7


def test_trap_10_a_forwarded_certificate_is_no_identity_by_itself() -> None:
    request = message(x_forwarded_client_cert="URI=spiffe://td/ns/shop/sa/web")
    rule = Rule((Source(principals=("td/ns/shop/sa/web",)),))
    assert code(answered(PolicySet([Policy("a", rules=(rule,))]), request)) == 7


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"x_envoy_auth_partial_body": "true"}, b'{"a": 1}'),
        ({"upgrade": "websocket"}, b""),
    ],
)
def test_trap_11_a_body_that_cannot_be_seen_fails_closed(headers: dict[str, str], body: bytes) -> None:
    request = message(content_type="application/json", **headers)
    request.attributes.request.http.raw_body = body
    rule = Rule(when=(Condition("request.body.json[a]", (), ("2",)),))
    assert code(answered(PolicySet([Policy("a", rules=(rule,))]), request)) == 7
    assert code(answered(denying(rule), request)) == 7


def test_trap_12_metadata_is_what_a_struct_can_hold() -> None:
    claims: dict[str, Any] = {"n": 3, "big": 10**400, "nan": float("nan"), "deep": {"x": [1, None, True]}}
    who = Authentication((VerifiedToken("i", "s", frozenset(), claims, 2e9),))
    settings = tuple(Setting(name, source=f"request.auth.claims[{name}]") for name in claims)
    policies = PolicySet([Policy("p", rules=(Rule(),), mutation=Mutation(metadata=settings))])
    response = authz_pb2.CheckResponse.FromString(
        CheckAdapter(policies, Fixed(who)).check(message().SerializeToString()).payload
    )
    fields = response.dynamic_metadata.fields
    assert fields["n"].number_value == 3.0
    assert fields["deep"].struct_value.fields["x"].list_value.values[0].number_value == 1.0
    assert not {"big", "nan"} & set(fields)


class PanicError(BaseException):
    """As Rust's: no Exception."""


class Broken:
    def __init__(self, error: type[BaseException] = RuntimeError) -> None:
        self._error = error

    def evaluate(self, request: RequestView, authentication: Authentication) -> Outcome:
        raise self._error(request.path, authentication)


@pytest.mark.parametrize("error", [RuntimeError, RecursionError, MemoryError, PanicError])
def test_trap_13_a_fault_is_a_denial_with_an_id_that_the_log_has(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        checked = CheckAdapter(Broken(error)).check(message().SerializeToString())
    response = CheckResponse.parse(checked.payload)
    assert code(response) == 7
    assert response.denied_response is not None
    assert f"(id {checked.error_id})" in response.denied_response.body
    (record,) = caplog.records
    assert vars(record)["error_id"] == checked.error_id
    assert record.exc_info is not None


@pytest.mark.parametrize("on_error", ["deny", "rpc"])
def test_trap_13_an_rpc_error_only_when_asked_for(on_error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_set: PolicySet, _request: RequestView, _who: Authentication) -> Outcome:
        raise RuntimeError

    monkeypatch.setattr(PolicySet, "evaluate", broken)
    authorizer = Authorizer(PolicySet([OPEN]), on_error=on_error)
    answer, malformed = authorizer([Call(message().SerializeToString()), Call(b"\xff")])
    assert isinstance(malformed, bytes)
    if on_error == "rpc":
        assert isinstance(answer, Failure)
        assert answer.code is grpc.StatusCode.INTERNAL
    else:
        assert isinstance(answer, bytes)
    assert authorizer.decisions.counts[("deny", "", "internal_error")] == 1


def test_trap_14_context_server_name_labels_and_odd_bytes_are_mapped() -> None:
    request = message()
    attributes = request.attributes
    attributes.context_extensions["namespace"] = "shop"
    attributes.destination.labels["app"] = "orders"
    attributes.tls_session.sni = "shop.example"
    attributes.destination.address.socket_address.port_value = 443
    attributes.request.http.header_map.headers.append(common_pb2.HeaderValue(key="x", raw_value=b"\xffa"))
    view = View(attributes)
    assert view.context["namespace"] == "shop"
    assert view.destination_labels["app"] == "orders"
    assert (view.sni, view.destination_port) == ("shop.example", 443)
    assert view.header("x") == "\ufffda"
    assert view.headers() == {"x": "\ufffda"}
    assert view.header("y") is None
    policies = PolicySet([Policy("p", "shop", rules=(Rule(),), selector={"app": "orders"})])
    assert code(answered(policies, request)) == 0


def test_trap_15_a_request_without_headers_body_and_extensions_is_decided() -> None:
    rule = Rule(when=(Condition("request.headers[x-team]", ("blue",)),))
    assert code(answered(PolicySet([Policy("a", rules=(rule,))]), message())) == 7
    assert code(answered(PolicySet([OPEN]), message())) == 0


def test_a_refused_token_is_401_with_a_challenge_and_changes_nothing() -> None:
    response = answered(PolicySet([OPEN]), message(), Fixed(Authentication(refusal=REFUSAL)))
    assert (code(response), response.ok_response) == (16, None)
    assert response.denied_response is not None
    assert response.denied_response.status is not None
    assert response.denied_response.status.code == 401
    headers = {one.header.key: one.header.value for one in response.denied_response.headers if one.header}
    assert headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert headers["x-envoy-authz-reason"] == "unauthenticated"


def test_what_is_not_enforced_is_counted() -> None:
    authorizer = Authorizer(PolicySet([OPEN, Policy("s", action=Action.DENY, rules=(Rule(),), dry_run=True)]))
    authorizer([Call(message().SerializeToString())] * 3)
    assert authorizer.decisions.value(("allow", "open", "allowed_by_policy")) == 3
    assert sum(authorizer.decisions.counts.values()) == 3
    assert authorizer.observed.counts == {("deny", "s", "dry_run"): 3}


WIDE = PolicySet(
    [
        Policy(
            "wide",
            "shop",
            rules=(
                Rule(
                    (Source(remote_ip_blocks=("10.0.0.0/8",), request_principals=("i/*",)),),
                    (Operation(hosts=("a*",), paths=("/{*}/x",), grpc_methods=("a.B/*",)),),
                    (
                        Condition("request.headers[x]", ("a",), ("b",)),
                        Condition("request.body.json[a][b]", ("1",)),
                        Condition("request.auth.claims[c7]", ("1",)),
                    ),
                    ("request.headers['x'] == 'a' && request.auth.claims.c7 == '1'",),
                ),
                Rule(expressions=("request.headers.size() > 100000 || request.json.a == 1",)),
                Rule(when=(Condition("request.body.form[a]", ("1",)),)),
            ),
        ),
        Policy("d", "shop", Action.DENY, (Rule(operations=(Operation(hosts=("b",)),)),)),
    ]
)
MANY = Authentication(
    (VerifiedToken("i", "s", frozenset(), {f"c{number}": str(number) for number in range(10_000)}, 2e9),)
)
HOSTILE = {
    "headers of 1 MB": message(**{f"h{number}": "x" * 1000 for number in range(1000)}),
    "a header of 1 MB": message(x="a," * 500_000),
    "a path of 1 MB": message("/" + "%2e" * 350_000),
    "many forwarders": message(x_forwarded_for="10.0.0.1," * 100_000),
    "NUL": message("/\x00", "G\x00T", x="\x00"),
    "deep JSON": message(content_type="application/json"),
    "digits": message(content_type="application/json"),
    "a large form": message(content_type="application/x-www-form-urlencoded"),
}
HOSTILE["deep JSON"].attributes.request.http.body = '{"a":' * 100_000
HOSTILE["digits"].attributes.request.http.body = '{"a": 1' + "0" * 100_000 + "}"
HOSTILE["a large form"].attributes.request.http.body = "a=%31&" * 100_000


@pytest.mark.parametrize("request_", HOSTILE.values(), ids=HOSTILE)
def test_whatever_arrives_is_decided(request_: authz_pb2.CheckRequest) -> None:
    payload = request_.SerializeToString()
    adapter = CheckAdapter(WIDE, Fixed(MANY))
    checked = adapter.check(payload)
    assert checked.labels == ("deny", "", "no_policy_matched")


@given(st.dictionaries(st.text(min_size=1), st.text()), st.text(), st.text(), st.binary(), st.text())
def test_any_request_is_decided(
    headers: dict[str, str], path: str, host: str, body: bytes, address: str
) -> None:
    request = message(path, **{"content-type": "application/json"} | headers)
    request.attributes.request.http.host = host
    request.attributes.request.http.raw_body = body
    request.attributes.source.address.socket_address.address = address
    checked = CheckAdapter(WIDE, Fixed(MANY)).check(request.SerializeToString())
    assert checked.labels[2] not in {"internal_error", "malformed_request"}


@given(st.data())
def test_damaged_requests_never_fail_inside(data: st.DataObject) -> None:
    payload = bytearray(HOSTILE["NUL"].SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    assert CheckAdapter(WIDE, Fixed(MANY)).check(bytes(payload)).labels[2] != "internal_error"


@pytest.mark.parametrize("name", ["host", "Host", ":authority"])
def test_the_host_header_is_the_authority_which_is_all_that_envoy_sends(name: str) -> None:
    message = authz_pb2.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.host = "GET", "/", "admin.example"
    http.headers[":authority"] = http.host
    denied = Rule(when=(Condition(f"request.headers[{name}]", values=("admin.example",)),))
    policies = PolicySet([Policy("all", rules=(Rule(),)), Policy("no", action=Action.DENY, rules=(denied,))])
    checked = CheckAdapter(policies).check(message.SerializeToString())
    assert checked.labels == ("deny", "no", "denied_by_policy")
