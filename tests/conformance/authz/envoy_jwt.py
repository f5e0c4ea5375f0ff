"""`RequestAuthentication` as Istio writes it into Envoy's own `jwt_authn` filter, and claims into its `rbac` filter."""

from collections.abc import Sequence
from typing import Any

from envoy_authz.authenticators.model import JwtRule
from envoy_authz.core import Condition

Json = dict[str, Any]
_TYPE = "type.googleapis.com/envoy.extensions"
_METADATA = "envoy.filters.http.jwt_authn"
CASE_HEADER = "x-case"

Case = tuple[Sequence[JwtRule], Condition | None]
"""Rules, and what a claim of the first must be for a request to be allowed."""


def config(cases: Sequence[Case]) -> Json:
    """Return an Envoy that answers 401, 403 or 200 to requests by the case in `x-case`."""
    providers: Json = {}
    requirements: Json = {}
    for number, (rules, _condition) in enumerate(cases):
        names = [f"{number}-{place}" for place in range(len(rules))]
        providers |= {name: _provider(rule, name) for name, rule in zip(names, rules, strict=True)}
        requirements[str(number)] = _requirement(names)
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [_route(number, condition) for number, (_rules, condition) in enumerate(cases)],
                }
            ]
        },
        "http_filters": [
            {
                "name": "jwt",
                "typed_config": {
                    "@type": f"{_TYPE}.filters.http.jwt_authn.v3.JwtAuthentication",
                    "providers": providers,
                    "requirement_map": requirements,
                },
            },
            {"name": "allow", "typed_config": {"@type": f"{_TYPE}.filters.http.rbac.v3.RBAC"}},
            {"name": "router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}},
        ],
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    filters = [{"name": "http", "typed_config": manager}]
    return {
        "admin": {"address": address},
        "static_resources": {
            "listeners": [{"name": "in", "address": address, "filter_chains": [{"filters": filters}]}]
        },
    }


def _requirement(names: Sequence[str]) -> Json:
    """Return what Istio asks for: each token that there is must be valid; or one of them, where issuers share a place."""
    providers = [{"provider_name": name} for name in names]
    optional = [{"requires_any": {"requirements": [one, {"allow_missing": {}}]}} for one in providers]
    if len(names) == 1:
        return optional[0]
    return {"requires_any": {"requirements": [*providers, {"requires_all": {"requirements": optional}}]}}


def _provider(rule: JwtRule, name: str) -> Json:
    return {
        "issuer": rule.issuer,
        "audiences": list(rule.audiences),
        "local_jwks": {"inline_string": rule.jwks},
        "from_headers": [{"name": one.name, "value_prefix": one.prefix} for one in rule.from_headers],
        "from_params": list(rule.from_params),
        "from_cookies": list(rule.from_cookies),
        "payload_in_metadata": name,
    }


def _route(number: int, condition: Condition | None) -> Json:
    per_filter: Json = {
        "jwt": {
            "@type": f"{_TYPE}.filters.http.jwt_authn.v3.PerRouteConfig",
            "requirement_name": str(number),
        }
    }
    if condition is not None:
        principals = [_claim(f"{number}-0", condition)]
        policies = {"claims": {"permissions": [{"any": True}], "principals": principals}}
        per_filter["allow"] = {
            "@type": f"{_TYPE}.filters.http.rbac.v3.RBACPerRoute",
            "rbac": {"rules": {"action": "ALLOW", "policies": policies}},
        }
    header = {"name": CASE_HEADER, "string_match": {"exact": str(number)}}
    return {
        "match": {"prefix": "/", "headers": [header]},
        "direct_response": {"status": 200},
        "typed_per_filter_config": per_filter,
    }


def _claim(payload: str, condition: Condition) -> Json:
    """Return what Istio makes of a claim: text, or any of a list of it."""
    parts = condition.key.removeprefix("request.auth.claims[").removesuffix("]").split("][")
    path = [{"key": part} for part in (payload, *parts)]
    ids: list[Json] = []
    for texts, negative in ((condition.values, False), (condition.not_values, True)):
        if not texts:
            continue
        matches = [_metadata(path, found) for text in texts for found in _found(_string(text))]
        alternatives = {"or_ids": {"ids": matches}}
        ids.append({"not_id": alternatives} if negative else alternatives)
    return {"and_ids": {"ids": ids}}


def _found(text: Json) -> tuple[Json, Json]:
    return {"string_match": text}, {"list_match": {"one_of": {"string_match": text}}}


def _metadata(path: list[Json], value: Json) -> Json:
    matcher = {"filter": _METADATA, "path": path, "value": value}
    return {"sourced_metadata": {"metadata_matcher": matcher}}


def _string(text: str) -> Json:
    if text == "*":
        return {"safe_regex": {"regex": ".+"}}
    if text.endswith("*"):
        return {"prefix": text[:-1]}
    return {"suffix": text[1:]} if text.startswith("*") else {"exact": text}
