"""Policies and requests made at random, of few values, so that they meet often."""

from typing import Any

from hypothesis import strategies as st

from envoy_authz.commands.asked import Asked, token_of
from envoy_authz.commands.source import Source
from envoy_authz.config.load import LoadedPolicies
from envoy_authz.core import Options, PathAmbiguity, PolicySet
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.policy import Action, Condition, Operation, Policy, Rule
from envoy_authz.core.policy import Source as From
from envoy_authz.core.request import Request

UNGUARDED = Options(path_ambiguity=PathAmbiguity.OFF)

METHODS = ["GET", "POST", "*", "P*"]
PATHS = ["/a", "/a/*", "*/b", "/a/{*}/b", "/a/{**}", "/a/x", "*"]
HOSTS = ["a.example", "*.example", "a.example:*"]
PRINCIPALS = ["td/ns/web/sa/x", "td/ns/web/*", "*/sa/x", "td/*", "*"]
BLOCKS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"]
TOKENS = ["https://i/ann", "https://i/*", "*"]


def some(values: list[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


def fields(**of: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw some fields, at least one, a few of them negative."""
    names = st.lists(
        st.sampled_from([*of, *(f"not_{name}" for name in of)]), min_size=1, max_size=2, unique=True
    )
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries(
            {
                name: st.lists(
                    st.sampled_from(of[name.removeprefix("not_")]), min_size=1, max_size=2, unique=True
                ).map(tuple)
                for name in chosen
            }
        )
    )


sources = fields(
    principals=PRINCIPALS,
    namespaces=["web", "w*"],
    trust_domains=["td"],
    service_accounts=["web/x"],
    ip_blocks=BLOCKS,
    remote_ip_blocks=BLOCKS,
    request_principals=TOKENS,
).map(lambda given: From(**given))
operations = fields(methods=METHODS, paths=PATHS, hosts=HOSTS, ports=[80, 443]).map(
    lambda given: Operation(**given)
)
_KEYS = {
    "request.headers[x-team]": ["red", "r*", "*"],
    "request.auth.claims[role]": ["admin", "a*"],
    "request.auth.audiences": ["shop"],
    "source.ip": BLOCKS,
    "remote.ip": BLOCKS,
    "connection.sni": ["a.example"],
}
conditions = st.sampled_from(list(_KEYS)).flatmap(
    lambda key: st.builds(Condition, st.just(key), some(_KEYS[key]), some(_KEYS[key]))
)
usable_conditions = conditions.filter(lambda one: bool(one.values or one.not_values))
rules = st.builds(
    Rule,
    st.lists(sources, max_size=2).map(tuple),
    st.lists(operations, max_size=2).map(tuple),
    st.lists(usable_conditions, max_size=1).map(tuple),
)
_bodies: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "namespace": st.sampled_from(["", "shop"]),
        "action": st.sampled_from([Action.ALLOW, Action.ALLOW, Action.DENY]),
        "rules": st.lists(rules, max_size=2).map(tuple),
        "selector": st.sampled_from([{}, {}, {"app": "web"}]),
    }
)
policies = st.lists(_bodies, max_size=3).map(
    lambda some: tuple(Policy(f"p{number}", **body) for number, body in enumerate(some))
)

tokens = st.none() | st.fixed_dictionaries(
    {"iss": st.just("https://i"), "sub": st.sampled_from(["ann", "bob"])},
    optional={"role": st.sampled_from(["admin", "ann"]), "aud": st.sampled_from(["shop", "other"])},
)
contexts = st.sampled_from(
    [
        {},
        {"namespace": "shop"},
        {"namespace": "other"},
        {"labels.app": "web"},
        {"namespace": "shop", "labels.app": "db"},
    ]
)
plain_requests = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=st.sampled_from(["/", "/a", "/a/x", "/a/x/b", "/a/x/y", "/b", "/c/b", "/a/"]),
    host=st.sampled_from(["", "a.example", "b.example", "a.example:80", "other"]),
    source_principal=st.sampled_from(
        [
            "",
            *(f"spiffe://{name}" for name in ("td/ns/web/sa/x", "td/ns/web/sa/y", "td/ns/db/sa/x", "o/sa/x")),
        ]
    ),
    source_address=st.sampled_from(["", "10.1.2.3", "10.1.2.4", "10.9.9.9", "11.0.0.0"]),
    destination_port=st.sampled_from([0, 80, 443, 8080]),
    sni=st.sampled_from(["", "a.example", "b.example"]),
    context=contexts,
    request_headers=st.sampled_from([{}, {"x-team": "red"}, {"x-team": "rose"}, {"x-team": "blue"}]),
)
requests = st.builds(
    lambda request, claims: Asked(
        request, Authentication(tokens=() if claims is None else (token_of(claims),))
    ),
    plain_requests,
    tokens,
)


def source(made: tuple[Policy, ...], options: Options = UNGUARDED) -> Source:
    return Source(LoadedPolicies(made, (), ()), PolicySet(made, options=options))
