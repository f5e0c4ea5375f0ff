"""What our apiVersion adds: CEL, bodies, gRPC methods, deny responses, mutations, shadows."""

import json
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse

from envoy_authz.config import load_policies
from envoy_authz.core import Authentication, PolicySet, Reason, Request, VerifiedToken
from envoy_authz.wire import CheckAdapter
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.pb import authz_pb2

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


def policy(spec: str, name: str = "p") -> str:
    head = f"apiVersion: envoy-sidecars.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec:\n"
    return head + indent(dedent(spec).strip(), "  ") + "\n"


def loaded(folder: Path, *specs: str) -> PolicySet:
    file = folder / "policies.yaml"
    file.write_text("---\n".join(policy(spec, f"p{number}") for number, spec in enumerate(specs)), "utf-8")
    return PolicySet(load_policies([file]).policies)


def token(**claims: Any) -> Authentication:
    return Authentication((VerifiedToken("https://i", "alice", frozenset({"shop"}), claims, 2e9),))


def condition(written: str, action: str = "ALLOW") -> str:
    return f"action: {action}\nrules:\n- when:\n  - {written}"


CEL = [
    ("request.method == 'GET' && request.path.startsWith('/o')", True),
    ("request.headers['x-a'] == 'b'", True),
    ("'x-b' in request.headers", False),
    ("request.headers['x-b'] == 'b'", False),
    ("request.auth.claims.level >= 3", True),
    ("request.auth.claims.tier == 'gold'", False),
    ("request.auth.claims.groups.exists(g, g == 'admin')", True),
    ("source.principal == '' && destination.port == 443", True),
    ("request.auth.principal == 'https://i/alice'", True),
    ("request.json.total < 100", True),
    ("request.json.items.all(i, i.count > 0)", True),
    ("request.form.x == ['y']", False),
    ("request.query.matches('(^|&)a=1')", True),
    ("request.time > timestamp('2020-01-01T00:00:00Z')", True),
]


@pytest.mark.parametrize(("expression", "matches"), CEL)
def test_an_expression_decides(tmp_path: Path, expression: str, *, matches: bool) -> None:
    policies = loaded(tmp_path, condition(f"cel: {json.dumps(expression)}"))
    request = Request(
        "GET", "/o?a=1", body=b'{"total": 42, "items": [{"count": 1}]}', destination_port=443,
        request_headers=JSON | {"x-a": "b"},
    )  # fmt: skip
    who = token(level=3, groups=["user", "admin"])
    assert policies.decide(request, who).allowed is matches


FAILING = [
    "request.headers['none'] == 'b'",
    "request.auth.claims.none == 1",
    "request.json.a == 1",
    "remote.ip != '203.0.113.7'",
    "request.auth.claims.big.all(x, request.auth.claims.big.all(y, x + y >= 0))",
]


@pytest.mark.parametrize("expression", FAILING)
def test_an_expression_that_fails_never_allows_and_denies(tmp_path: Path, expression: str) -> None:
    who = token(big=list(range(1000)))
    allow = condition(f"cel: {json.dumps(expression)}")
    assert not loaded(tmp_path, allow).decide(Request("GET", "/"), who).allowed
    deny = condition(f"cel: {json.dumps(expression)}", "DENY")
    assert not loaded(tmp_path, "rules: [{}]", deny).decide(Request("GET", "/"), who).allowed


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("request.method", "gives string, not a boolean"),
        ("request.metod == 'GET'", "undeclared reference to 'request.metod'"),
        ("request.method == 1", "no matching overload"),
        ("request.method ==", "Syntax error"),
        ("'a' == 'a' && " * 200 + "true", "longer than 2000"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "more than 2 loops"),
        ("(" * 200 + "true" + ")" * 200, "recursion"),
    ],
)
def test_an_expression_is_checked_when_it_is_loaded(tmp_path: Path, expression: str, problem: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        loaded(tmp_path, condition(f"cel: {json.dumps(expression)}"))
    (finding,) = caught.value.findings
    assert problem in finding.message
    assert (finding.position.line, finding.path) == (8, "spec.rules[0].when[0].cel")


def amount(values: str, action: str = "ALLOW") -> str:
    return condition(f"{{key: 'request.body.json[order][amount]', {values}}}", action)


BODIES = [
    # headers, body, is it readable and 5
    (JSON, b'{"order": {"amount": 5}}', True),
    ({"content-type": "application/json; charset=utf-8"}, b'{"order": {"amount": "5"}}', True),
    ({"content-type": "application/merge-patch+json"}, b'{"order": {"amount": [4, 5]}}', True),
    (JSON, b'{"order": {"amount": 6}}', False),
    (JSON, b'{"order": {}}', False),
]
UNREADABLE = {
    "absent": (JSON, b""),
    "cut": (JSON | {"x-envoy-auth-partial-body": "true"}, b'{"order": {"amount": 5}}'),
    "cut, and forged not to be": (
        JSON | {"x-envoy-auth-partial-body": "false,true"},
        b'{"order": {"amount": 5}}',
    ),
    "not declared": ({}, b'{"order": {"amount": 5}}'),
    "encoded": (JSON | {"content-encoding": "gzip"}, b'{"order": {"amount": 5}}'),
    "twice": (JSON, b'{"order": {"amount": 5, "amount": 6}}'),
    "twice by an escape": (JSON, b'{"order": {"amount": 5, "\\u0061mount": 6}}'),
    "NaN": (JSON, b'{"order": {"amount": 5}, "x": NaN}'),
    "infinite": (JSON, b'{"order": {"amount": 5}, "x": 1e999}'),
    "4,300 digits": (JSON, b'{"order": {"amount": 5}, "x": 1' + b"0" * 5000 + b"}"),
    "deep": (JSON, b'{"order": {"amount": 5}, "x": ' + b"[" * 33 + b"]" * 33 + b"}"),
    "very deep": (JSON, b"[" * 100_000),
    "half a character": (JSON, b'{"order": {"amount": 5}, "x": "\\ud800"}'),
    "not UTF-8": (JSON, b'{"order": {"amount": 5}, "x": "\xff"}'),
    "with a tail": (JSON, b'{"order": {"amount": 5}} {}'),
    "large": (JSON, b'{"order": {"amount": 5}, "x": "' + b"x" * (1 << 20) + b'"}'),
}


@pytest.mark.parametrize(("headers", "body", "five"), BODIES)
def test_a_body_decides(tmp_path: Path, headers: dict[str, str], body: bytes, *, five: bool) -> None:
    request = Request("POST", "/", body=body, request_headers=headers)
    assert loaded(tmp_path, amount("values: ['5']")).decide(request).allowed is five
    assert loaded(tmp_path, amount("notValues: ['5']")).decide(request).allowed is not five


@pytest.mark.parametrize(("headers", "body"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("values", ["values: ['5']", "notValues: ['7']"])
def test_a_body_that_cannot_be_read_fails_closed(
    tmp_path: Path, headers: dict[str, str], body: bytes, values: str
) -> None:
    request = Request("POST", "/", body=body, request_headers=headers)
    assert not loaded(tmp_path, amount(values)).decide(request).allowed
    assert not loaded(tmp_path, "rules: [{}]", amount(values, "DENY")).decide(request).allowed


def test_a_form_decides_by_each_of_its_values(tmp_path: Path) -> None:
    policies = loaded(
        tmp_path, condition("{key: 'request.body.form[role]', values: [user], notValues: [admin]}")
    )

    def allowed(body: bytes) -> bool:
        return policies.decide(Request("POST", "/", body=body, request_headers=FORM)).allowed

    assert allowed(b"a=b&role=user")
    assert allowed(b"r%6Fle=us%65r")
    for body in (b"", b"role=admin", b"role=user&role=admin", b"role=user&r%6fle=admin", b"role=%ff", b"a=b"):
        assert not allowed(body)
    assert not allowed(b"role=user&a=b;role=admin")


GRPC = {"content-type": "application/grpc+proto"}


@pytest.mark.parametrize(
    ("request_", "matches"),
    [
        (Request("POST", "/shop.Orders/Get", request_headers=GRPC), True),
        (Request("POST", "/shop.Admin/Any", request_headers=GRPC), True),
        (Request("POST", "/shop.Orders/Delete", request_headers=GRPC), False),
        (Request("GET", "/shop.Orders/Get", request_headers=GRPC), False),
        (Request("POST", "/shop.Orders/Get"), False),
        (Request("POST", "/shop.Orders/Get/", request_headers=GRPC), False),
    ],
)
def test_a_grpc_method_is_matched(tmp_path: Path, request_: Request, *, matches: bool) -> None:
    rules = "rules: [{to: [{operation: {grpcMethods: [shop.Orders/Get, shop.Admin/*]}}]}]"
    assert loaded(tmp_path, rules).decide(request_).allowed is matches


def test_a_denied_grpc_method_is_denied_without_being_declared(tmp_path: Path) -> None:
    rules = "action: DENY\nrules: [{to: [{operation: {grpcMethods: [shop.Orders/Get]}}]}]"
    assert not loaded(tmp_path, "rules: [{}]", rules).decide(Request("POST", "/shop.Orders/Get")).allowed


DENY = """
    action: DENY
    rules: [{}]
    denyResponse:
      status: 451
      headers: [{name: x-why, value: law}]
      problem: {type: "https://shop.example/law", title: No, detail: Not here, extra: [1]}
      grpcStatus: FAILED_PRECONDITION
"""


def check(policies: PolicySet, headers: dict[str, str]) -> CheckResponse:
    http = authz_pb2.AttributeContext.HttpRequest(method="POST", path="/", headers=headers)
    attributes = authz_pb2.AttributeContext(request=authz_pb2.AttributeContext.Request(http=http))
    payload = authz_pb2.CheckRequest(attributes=attributes).SerializeToString()
    return CheckResponse.parse(CheckAdapter(policies).check(payload).payload)


def denied(policies: PolicySet, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    response = check(policies, headers).denied_response
    assert response is not None
    assert response.status is not None
    options = {option.header.key: option.header.value for option in response.headers if option.header}
    return int(response.status.code), options, response.body


def test_a_denial_answers_as_its_policy_says(tmp_path: Path) -> None:
    status, headers, body = denied(loaded(tmp_path, DENY), {})
    assert status == 451
    assert (headers["x-why"], headers["content-type"]) == ("law", "application/problem+json")
    assert headers["x-envoy-authz-policy"] == "p0"
    assert json.loads(body) == {
        "type": "https://shop.example/law", "title": "No", "detail": "Not here", "extra": [1], "status": 451,
    }  # fmt: skip


def test_a_denial_answers_a_grpc_caller_by_status_and_message(tmp_path: Path) -> None:
    _status, headers, body = denied(loaded(tmp_path, DENY), GRPC)
    assert (headers["grpc-status"], body) == ("9", "Not here")
    assert "content-type" not in headers


MUTATING = """
    rules: [{to: [{operation: {paths: ["/a"]}}]}]
    allowMutations:
      setHeaders:
        - {name: x-user, from: "request.auth.claims[sub]"}
        - {name: X-Peer, from: source.principal}
        - {name: x-static, value: "1"}
      removeHeaders: [x-secret]
      setQuery: [{name: "user name", from: "request.auth.claims[sub]"}]
      removeQuery: [debug]
      metadata: [{name: level, from: "request.auth.claims[level]"}, {name: deep, from: "request.auth.claims[deep]"}]
"""


def test_an_allowance_changes_the_request(tmp_path: Path) -> None:
    policies = loaded(tmp_path, MUTATING, "rules: [{}]")
    changes = policies.evaluate(
        Request("GET", "/a"), token(sub="a b&c=d", level=3, deep={"x": [None, 1.5]})
    ).changes
    assert changes is not None
    assert changes.set_headers == (("x-user", "a b&c=d"), ("x-static", "1"))
    assert set(changes.remove_headers) == {"x-peer", "x-secret"}
    assert changes.set_query == (("user%20name", "a%20b%26c%3Dd"),)
    assert changes.remove_query == ("debug",)
    assert changes.metadata == {"level": 3, "deep": {"x": [None, 1.5]}}


def test_a_header_that_a_policy_may_set_is_removed_when_it_does_not(tmp_path: Path) -> None:
    changes = loaded(tmp_path, MUTATING, "rules: [{}]").evaluate(Request("GET", "/b")).changes
    assert changes is not None
    assert changes.set_headers == ()
    assert set(changes.remove_headers) == {"x-user", "x-peer", "x-static"}
    assert changes.remove_query == ("user%20name",)


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx: y", "a\x00", " a", "\ud800", "x" * 9000, ""])
def test_what_no_header_can_hold_is_removed(tmp_path: Path, value: str) -> None:
    changes = loaded(tmp_path, MUTATING).evaluate(Request("GET", "/a"), token(sub=value)).changes
    assert changes is not None
    assert "x-user" not in dict(changes.set_headers)
    assert "x-user" in changes.remove_headers


SHADOWS = [
    # specs, the decision, what was observed: (allowed, policy)
    (["rules: [{}]", "action: DENY\nmode: SHADOW\nrules: [{}]"], True, [(False, "p1")]),
    (["mode: SHADOW\nrules: [{}]"], False, [(True, "p0")]),
    (["rules: [{}]", "action: AUDIT\nrules: [{}]"], True, [(True, "p1")]),
    (["rules: [{}]", "action: DENY\nmode: ENFORCE\nrules: [{}]"], False, []),
]


@pytest.mark.parametrize(("specs", "allowed", "observed"), SHADOWS)
def test_a_shadow_is_observed_and_not_enforced(
    tmp_path: Path, specs: list[str], observed: list[tuple[bool, str]], *, allowed: bool
) -> None:
    outcome = loaded(tmp_path, *specs).evaluate(Request("GET", "/"))
    assert outcome.decision.allowed is allowed
    assert [(one.allowed, one.policy) for one in outcome.observed] == observed
    assert {one.reason for one in outcome.observed} <= {Reason.DRY_RUN, Reason.AUDITED}


SPECS = [
    ("denyResponse: {status: 404}", "denies nothing"),
    ("action: DENY\nrules: [{}]\ndenyResponse: {status: 200}", "is not an error"),
    ("action: DENY\nrules: [{}]\ndenyResponse: {grpcStatus: OK}", "not a gRPC status"),
    ("action: DENY\nrules: [{}]\ndenyResponse: {headers: [{name: content-type, value: a}]}", "is set by"),
    (
        'action: DENY\nrules: [{}]\ndenyResponse: {headers: [{name: a, value: "b\\nc"}]}',
        "can't stand in a header",
    ),
    ("action: DENY\nrules: [{}]\nallowMutations: {removeHeaders: [a]}", "allows nothing"),
    ("allowMutations: {setHeaders: [{name: ':path', value: a}]}", "not a header's name"),
    ("allowMutations: {setHeaders: [{name: host, value: a}]}", "can't be changed"),
    ("allowMutations: {setHeaders: [{name: a}]}", "says not what"),
    ("allowMutations: {setHeaders: [{name: a, value: b, from: source.ip}]}", "says not what"),
    ("allowMutations: {setHeaders: [{name: a, from: source.nothing}]}", "no attribute"),
    ("allowMutations: {setHeaders: [{name: a, value: b}], removeHeaders: [A]}", "a is set as well"),
    ("mode: shadow", "unknown mode"),
    ("rules: [{to: [{operation: {grpcMethods: [Get]}}]}]", "not a gRPC method"),
    ("rules: [{when: [{cel: 'true', key: a}]}]", "beside other fields"),
]


@pytest.mark.parametrize(("spec", "problem"), SPECS)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, spec: str, problem: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        loaded(tmp_path, spec)
    assert problem in str(caught.value)
