"""The handler: batches answered in order, counted, and each by one set of policies."""

from collections.abc import Iterator

from envoy_authz.core import Action, Operation, Policy, PolicySet, Rule
from envoy_authz.handler import SERVICE_NAME, Authorizer
from envoy_authz.wire import allowed_response
from envoy_sidecar.pb import authz_pb2
from envoy_sidecar.transport.port import Call


def call(path: str) -> Call:
    message = authz_pb2.CheckRequest()
    message.attributes.request.http.method = "GET"
    message.attributes.request.http.path = path
    return Call(message.SerializeToString())


def allowing(path: str) -> PolicySet:
    return PolicySet([Policy("p", "ns", Action.ALLOW, (Rule(operations=(Operation(paths=(path,)),)),))])


def test_answers_come_in_the_order_of_the_calls_and_are_counted() -> None:
    authorizer = Authorizer(allowing("/a"))
    answers = authorizer([call("/a"), call("/b"), Call(b"\xff"), call("/a")])
    assert [answer == allowed_response() for answer in answers] == [True, False, False, True]
    assert authorizer.decisions.label_names == ("decision", "policy", "reason")
    assert authorizer.decisions.counts == {
        ("allow", "ns/p", "allowed_by_policy"): 2,
        ("deny", "", "no_policy_matched"): 1,
        ("deny", "", "malformed_request"): 1,
        ("deny", "", "internal_error"): 0,
    }


def test_new_policies_decide_from_the_next_batch_on() -> None:
    authorizer = Authorizer(allowing("/a"))
    new = allowing("/b")

    class SwappingBatch(list[Call]):
        def __iter__(self) -> Iterator[Call]:
            yield call("/a")
            authorizer.swap(new)
            yield call("/a")

    assert authorizer(SwappingBatch()) == [allowed_response()] * 2
    assert authorizer.policies is new
    assert authorizer([call("/b")]) == [allowed_response()]
    assert authorizer([call("/a")]) != [allowed_response()]


def test_it_is_served_under_envoys_name() -> None:
    authorizer = Authorizer(PolicySet([]))
    service = authorizer.service()
    assert service.name == SERVICE_NAME == "envoy.service.auth.v3.Authorization"
    assert service.unary == {"Check": authorizer}
