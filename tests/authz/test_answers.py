"""What goes on to the upstream: tokens are stripped wherever they came from, and answers that repeat are kept."""

import pytest
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse

from envoy_authz.core import Action, Authentication, Changes, Policy, PolicySet, RequestView, Rule
from envoy_authz.core.authentication import VerifiedToken
from envoy_authz.handler import Authorizer, make_room
from envoy_authz.wire import TOO_LARGE_ANSWER, CheckAdapter, allowed_response, check
from envoy_sidecar.pb import authz_pb2
from envoy_sidecar.telemetry.tally import Tally

EVERYTHING = PolicySet([Policy("all", rules=(Rule(),))])


def request(path: str = "/") -> bytes:
    message = authz_pb2.CheckRequest()
    message.attributes.request.http.method, message.attributes.request.http.path = "GET", path
    return message.SerializeToString()


def token(subject: str) -> VerifiedToken:
    return VerifiedToken("https://a", subject, frozenset(), {}, float("inf"))


class Remembering:
    """The same object for the same caller, or a new one each time."""

    def __init__(self, *, remembers: bool) -> None:
        self.remembers = remembers
        self.known: dict[str, Authentication] = {}

    def authenticate(self, request: RequestView) -> Authentication:
        made = Authentication((token(request.path),), set_headers=(("x-user", request.path.strip("/")),))
        return self.known.setdefault(request.path, made) if self.remembers else made


def test_a_stripped_query_token_never_reaches_the_upstream() -> None:
    payload = allowed_response(Authentication(remove_query_parameters=("access_token", "access_token")))
    answer = CheckResponse.parse(payload).ok_response
    assert answer is not None
    assert answer.query_parameters_to_remove == ["access_token"]


def test_a_parameter_that_a_policy_sets_is_not_removed_after_that() -> None:
    changes = Changes(set_query=(("t", "new"),), remove_query=("x",))
    answer = CheckResponse.parse(
        allowed_response(Authentication(remove_query_parameters=("t", "u")), changes)
    ).ok_response
    assert answer is not None
    assert [(one.key, one.value) for one in answer.query_parameters_to_set] == [("t", "new")]
    assert answer.query_parameters_to_remove == ["x", "u"]


@pytest.mark.parametrize("remembers", [True, False])
def test_each_caller_gets_its_own_answer_and_that_of_one_is_made_once(
    monkeypatch: pytest.MonkeyPatch, *, remembers: bool
) -> None:
    made: list[Authentication] = []

    def counted(authentication: Authentication) -> bytes:
        made.append(authentication)
        return allowed_response(authentication)

    monkeypatch.setattr(check, "allowed_response", counted)
    monkeypatch.setattr(check, "_KEPT_ANSWERS", 3)
    adapter = CheckAdapter(EVERYTHING, Remembering(remembers=remembers))
    for user in ("ann", "bob", "ann", "ann", "bob") * 3:
        answer = CheckResponse.parse(adapter.check(request(f"/{user}")).payload).ok_response
        assert answer is not None
        assert [one.header.value for one in answer.headers if one.header] == [user]
    assert len(made) == (2 if remembers else 15)
    assert len(adapter._allowed._kept) <= 3


def test_a_large_answer_is_not_kept() -> None:
    adapter = CheckAdapter(EVERYTHING, Remembering(remembers=True))
    adapter.check(request("/" + "u" * 8000))
    assert adapter._allowed._kept == {}


def test_a_message_over_the_cap_is_a_denial_and_no_rpc_error() -> None:
    assert Authorizer(EVERYTHING).service().too_large == TOO_LARGE_ANSWER
    answer = CheckResponse.parse(TOO_LARGE_ANSWER)
    assert answer.status is not None
    assert answer.status.code == 7
    assert answer.denied_response is not None
    assert answer.denied_response.status is not None
    assert answer.denied_response.status.code == 413


def test_every_policy_is_counted_under_its_name_and_too_many_keep_the_decision() -> None:
    policies = [Policy(f"p{number}", action=Action.DENY, rules=(Rule(),)) for number in range(2000)]
    authorizer = Authorizer(PolicySet(policies))
    assert authorizer.decisions.cap >= 2000
    tally = Tally("t", "", ("decision", "policy", "reason"), cap=1, keep=authorizer.decisions.keep)
    for number in range(3):
        tally.add(("deny", f"p{number}", "denied_by_policy"))
    assert tally.value(("deny", "other", "other")) == 2
    make_room(tally, 10)
    assert tally.cap > 10
