"""Trust domains of several names: a policy may be written with any of them."""

from pathlib import Path

import pytest

from envoy_authz.core import Action, Condition, Policy, Rule, Source
from envoy_authz.core.aliases import with_own_names
from envoy_authz.server import AuthzSidecar
from envoy_sidecar.pb.authz_pb2 import CheckRequest, CheckResponse
from envoy_sidecar.transport.port import Call

ALIASES = {"old.example": "new.example"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("old.example/ns/shop/sa/web", ("new.example/ns/shop/sa/web",)),
        ("spiffe://old.example/ns/shop/*", ("new.example/ns/shop/*",)),
        ("new.example/x", ("new.example/x",)),
        ("other.example/x", ("other.example/x",)),
        ("old.ex*", ("old.ex*", "new.example/*")),
        ("*/sa/web", ("*/sa/web",)),
        ("*", ("*",)),
    ],
)
def test_a_principal_is_read_by_the_domains_own_name(written: str, read: tuple[str, ...]) -> None:
    policy = Policy("p", rules=(Rule((Source(principals=(written,), not_principals=(written,)),)),))
    (source,) = with_own_names(policy, ALIASES).rules[0].sources
    assert source.principals == source.not_principals == read


@pytest.mark.parametrize("written", ["old.example", "old.*", "*.example", "*ld.example"])
def test_a_trust_domain_is_read_by_its_own_name(written: str) -> None:
    condition = Condition("source.trustDomain", (written,), (written,))
    rule = with_own_names(Policy("p", rules=(Rule(when=(condition,)),)), ALIASES).rules[0]
    assert rule.when[0].values == rule.when[0].not_values == (written, "new.example")
    assert with_own_names(Policy("p", rules=(Rule(),)), {}) == Policy("p", rules=(Rule(),))


def test_a_denial_of_an_alias_denies_its_callers(tmp_path: Path) -> None:
    (tmp_path / "identity.yaml").write_text(
        "apiVersion: envoy-sidecars.dev/v1alpha1\nkind: Identity\n"
        "spec: {peers: {trustDomainAliases: {old.example: new.example}}}\n"
    )
    policies = tmp_path / "policies.yaml"
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: %s}\nspec:\n"
    policies.write_text(
        head % "open" + "  rules: [{}]\n---\n" + head % "closed" + f"  action: {Action.DENY.value}\n"
        "  rules: [{from: [{source: {principals: [old.example/ns/shop/*]}}]}]\n"
    )
    sidecar = AuthzSidecar([policies], identity=tmp_path / "identity.yaml")
    for domain in ("old.example", "new.example", "third.example"):
        request = CheckRequest()
        request.attributes.request.http.method = "GET"
        request.attributes.source.principal = f"spiffe://{domain}/ns/shop/sa/web"
        (answer,) = sidecar.services[0].unary["Check"]([Call(request.SerializeToString())])
        assert isinstance(answer, bytes)
        assert (CheckResponse.FromString(answer).status.code == 0) is (domain == "third.example")
