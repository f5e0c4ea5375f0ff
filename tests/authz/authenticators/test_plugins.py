"""Plug-ins by entry point: the documented example runs, and a broken one opens nothing."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from envoy_authz.authenticators.chain import AuthenticatorChain
from envoy_authz.authenticators.plugins import (
    AUTHENTICATORS,
    DECIDERS,
    DecisionPlugin,
    GuardedAuthenticator,
    GuardedDecider,
    PluginError,
    installed,
    load_authenticator,
    load_decider,
)
from envoy_authz.core.authentication import ANONYMOUS, Authentication, Authenticator, Refusal
from envoy_authz.core.decision import INTERNAL_ERROR
from envoy_authz.core.request import Request, RequestView
from envoy_authz.server import AuthzSidecar
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.pb.authz_pb2 import CheckRequest, CheckResponse
from envoy_sidecar.transport.port import Call

DOCS = Path(__file__).parents[3] / "docs" / "authz-identity.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the example of the docs: its module, and the entry points of its pyproject.toml."""
    text = DOCS.read_text("utf-8")
    module = re.search(r"```python\n# shop_plugins\.py\n(.*?)```", text, re.DOTALL)
    points = re.search(r"```toml\n# pyproject\.toml\n(.*?)```", text, re.DOTALL)
    assert module
    assert points
    (tmp_path / "shop_plugins.py").write_text(module[1])
    info = tmp_path / "shop_plugins-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-plugins\nVersion: 1\n")
    ini = re.sub(r'\[project\.entry-points\."([^"]+)"\]', r"[\1]", points[1]).replace('"', "")
    (info / "entry_points.txt").write_text(ini)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("shop_plugins", None)


@pytest.mark.usefixtures("example")
def test_the_example_authenticates() -> None:
    assert "badge" in installed(AUTHENTICATORS)
    made = load_authenticator("badge", {"header": "x-badge", "badges": {"b-17": "alice"}})
    (token,) = made.authenticate(Request("GET", "/", request_headers={"x-badge": "b-17"})).tokens
    assert token.principal == "badge/alice"
    refused = made.authenticate(Request("GET", "/", request_headers={"x-badge": "b-18"}))
    assert refused.refusal is not None
    assert made.authenticate(Request("GET", "/")).tokens == ()


@pytest.mark.usefixtures("example")
def test_the_example_decides() -> None:
    assert "office-hours" in installed(DECIDERS)
    closed = load_decider("office-hours", {"from": 0, "to": 0})
    decision = closed.decide(Request("POST", "/"), ANONYMOUS)
    assert decision is not None
    assert not decision.allowed
    assert closed.decide(Request("GET", "/"), ANONYMOUS) is None


@pytest.mark.usefixtures("example")
def test_the_service_uses_what_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "identity.yaml").write_text(
        "apiVersion: envoy-sidecars.dev/v1alpha1\nkind: Identity\nspec:\n  plugins:\n"
        "    badge: {header: x-badge, badges: {b-17: alice}}\n    office-hours: {from: 0, to: 0}\n"
    )
    (tmp_path / "policies.yaml").write_text(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: staff}\n"
        "spec: {rules: [{from: [{source: {requestPrincipals: [badge/alice]}}]}]}\n"
    )
    sidecar = AuthzSidecar(
        [tmp_path / "policies.yaml"],
        identity=tmp_path / "identity.yaml",
        authenticators=["badge"],
        deciders=["office-hours"],
    )

    def code(method: str, badge: str) -> int:
        request = CheckRequest()
        http = request.attributes.request.http
        http.method, http.path, http.headers["x-badge"] = method, "/", badge
        (answer,) = sidecar.services[0].unary["Check"]([Call(request.SerializeToString())])
        assert isinstance(answer, bytes)
        return CheckResponse.FromString(answer).status.code

    assert [code("GET", "b-17"), code("GET", "b-18"), code("POST", "b-17")] == [0, 16, 7]
    assert (sidecar.describe()["authenticators"], sidecar.describe()["deciders"]) == (
        ["badge"],
        ["office-hours"],
    )
    with pytest.raises(InvalidConfigurationError, match="has settings and is not used"):
        AuthzSidecar(
            [tmp_path / "policies.yaml"], identity=tmp_path / "identity.yaml", deciders=["office-hours"]
        )
    with pytest.raises(InvalidConfigurationError, match="no plug-in 'absent'"):
        AuthzSidecar([tmp_path / "policies.yaml"], authenticators=["absent"])


def test_a_plug_in_that_is_not_installed_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(PluginError, match="no plug-in 'absent'"):
        load_authenticator("absent", {})


@pytest.mark.usefixtures("example")
def test_a_plug_in_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(PluginError, match="can't be made: KeyError"):
        load_authenticator("badge", {})


class Raises:
    def authenticate(self, request: RequestView) -> Authentication:
        raise RuntimeError(request.path)

    def decide(self, request: RequestView, authentication: Authentication) -> None:
        raise RuntimeError(request.path, authentication)


class Wrong:
    def authenticate(self, request: RequestView) -> bool:  # noqa: ARG002 - the protocol's
        return True

    def decide(self, request: RequestView, authentication: Authentication) -> bool:  # noqa: ARG002 - the protocol's
        return True


@pytest.mark.parametrize("broken", [Raises(), Wrong()])
def test_a_broken_plug_in_refuses_and_denies(broken: object, caplog: pytest.LogCaptureFixture) -> None:
    found = GuardedAuthenticator("broken", cast("Authenticator", broken)).authenticate(Request("GET", "/"))
    assert found.refusal is not None
    assert found.refusal.reason == "internal"
    decider = GuardedDecider("broken", cast("DecisionPlugin", broken))
    assert decider.decide(Request("GET", "/"), ANONYMOUS) is INTERNAL_ERROR
    assert len(caplog.records) == 2


class Fixed:
    def __init__(self, found: Authentication) -> None:
        self._found = found

    def authenticate(self, request: RequestView) -> Authentication:  # noqa: ARG002 - the protocol's
        return self._found


def test_a_chain_adds_up_what_its_members_find() -> None:
    first = Authentication(set_headers=(("x-user", "a"),), remove_headers=("x-team", "authorization"))
    second = Authentication(
        set_headers=(("x-user", "b"), ("x-team", "c")),
        remove_headers=("x-user",),
        remove_query_parameters=("t",),
    )
    found = AuthenticatorChain([Fixed(first), Fixed(second)]).authenticate(Request("GET", "/"))
    assert found.set_headers == (("x-user", "a"), ("x-team", "c"))
    assert found.remove_headers == ("authorization",)
    assert found.remove_query_parameters == ("t",)
    assert AuthenticatorChain([Fixed(first)]).authenticate(Request("GET", "/")) is first


def test_the_first_refusal_of_a_chain_is_its_answer() -> None:
    refused = Authentication(refusal=Refusal("r", "m", "w"))
    chain = AuthenticatorChain([Fixed(ANONYMOUS), Fixed(refused), GuardedAuthenticator("x", Raises())])
    assert chain.authenticate(Request("GET", "/")) is refused
