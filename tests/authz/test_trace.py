"""What a decision read, as `explain` shows it."""

from envoy_authz.core import Condition, Operation, Policy, PolicySet, Request, Rule, Source, trace


def test_a_trace_tells_what_was_read_and_nothing_else() -> None:
    rule = Rule(
        (Source(ip_blocks=("10.0.0.0/8",)),),
        (Operation(paths=("/x",)),),
        (Condition("request.headers[x-team]", ("blue",)),),
    )
    policies = PolicySet([Policy("p", rules=(rule,))])
    request = Request(
        "GET", "/x", source_address="10.0.0.1", request_headers={"x-team": "blue", "secret": "1"}
    )
    traced = trace(policies, request)
    assert traced.outcome == policies.evaluate(request)
    assert traced.outcome.decision.allowed
    assert traced.reads == {
        "method": "GET",
        "path": "/x",
        "source_principal": "",
        "source_address": "10.0.0.1",
        "header(x-team)": "blue",
    }


def test_a_condition_behind_one_that_failed_is_not_read() -> None:
    rule = Rule((Source(ip_blocks=("10.0.0.0/8",)),), (), (Condition("request.headers[x-team]", ("blue",)),))
    traced = trace(PolicySet([Policy("p", rules=(rule,))]), Request("GET", "/", source_address="11.0.0.1"))
    assert "header(x-team)" not in traced.reads
