"""Certificates and principals through real Envoy's own `rbac` filter, with mTLS: the same decisions.

Known difference, listed as `no SPIFFE ID`: Envoy compares a DNS name or the subject where a certificate has no URI, and a
URI of whatever form; we compare nothing but SPIFFE IDs (trap 8), so that such a caller matches no principal.
"""

import random
import re
import ssl
from collections import Counter
from collections.abc import Sequence
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509

from envoy_authz.core import Action, Options, Policy, PolicySet, Request, Rule, Source
from envoy_authz.identity import Callers, Peers
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from tests.authz.tokens.certificates import certificate, write
from tests.conformance.authz import envoy_rbac
from tests.e2e.https_issuer import client_tls

SEED = 20261124
CASES = 120
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
CLIENTS = {
    "web": "spiffe://td/ns/shop/sa/web",
    "job": "spiffe://td/ns/shop/sa/job",
    "bank": "spiffe://td/ns/bank/sa/web",
    "other": "spiffe://other/ns/shop/sa/web",
    "deep": "spiffe://td/ns/shop/sa/web/x",
    "plain": "spiffe://td/web",
    "https": "https://td/ns/shop/sa/web",
    "dns": "",
}
NO_SPIFFE_ID = {"https", "dns"}
PRINCIPALS = [
    *(
        "td/ns/shop/sa/web",
        "spiffe://td/ns/shop/sa/web",
        "td/ns/bank/sa/web",
        "td/*",
        "td/ns/shop/*",
        "td/ns/sh*",
    ),
    *("*/sa/web", "*web", "other/*", "*", "td/web", "nobody/x"),
]
NAMESPACES = ["shop", "bank", "sh*", "nowhere"]


def source(chance: random.Random) -> Source:
    def some(texts: Sequence[str], likely: float) -> tuple[str, ...]:
        return tuple(chance.sample(texts, chance.randint(1, 2))) if chance.random() < likely else ()

    return Source(
        principals=some(PRINCIPALS, 0.6),
        not_principals=some(PRINCIPALS, 0.35),
        namespaces=some(NAMESPACES, 0.25),
        not_namespaces=some(NAMESPACES, 0.15),
    )


def policies(chance: random.Random) -> list[Policy]:
    actions = [Action.ALLOW, Action.DENY][: chance.randint(1, 2)]
    return [
        Policy(
            f"p{number}",
            action=action,
            rules=(Rule(tuple(source(chance) for _ in range(chance.randint(1, 2)))),),
        )
        for number, action in enumerate(actions)
    ]


def principal_id(found: Source) -> dict[str, Any]:
    """Return what Istio writes for a source."""
    ids: list[dict[str, Any]] = []
    for wanted, unwanted, make in (
        (found.principals, found.not_principals, _principal),
        (found.namespaces, found.not_namespaces, _namespace),
    ):
        if wanted:
            ids.append({"or_ids": {"ids": [make(one) for one in wanted]}})
        if unwanted:
            ids.append({"not_id": {"or_ids": {"ids": [make(one) for one in unwanted]}}})
    return {"and_ids": {"ids": ids}} if ids else {"any": True}


def _named(matcher: dict[str, Any]) -> dict[str, Any]:
    return {"authenticated": {"principal_name": matcher}}


def _principal(text: str) -> dict[str, Any]:
    if text == "*":
        return _named({"safe_regex": {"regex": ".+"}})
    if text.startswith("*"):
        return _named({"suffix": text[1:]})
    full = "spiffe://" + text.removeprefix("spiffe://")
    return _named({"prefix": full[:-1]} if full.endswith("*") else {"exact": full})


def _namespace(text: str) -> dict[str, Any]:
    body = re.escape(text.rstrip("*")) + ("[^/]*" if text.endswith("*") else "")
    return _named({"safe_regex": {"regex": f".*/ns/{body}/.*"}})


def config(cases: Sequence[Sequence[Policy]], folder: Path) -> dict[str, Any]:
    made = envoy_rbac.config(cases)
    (chain,) = made["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    for number, route in enumerate(manager["route_config"]["virtual_hosts"][0]["routes"]):
        for name in ("deny", "allow"):
            rules = (
                route["typed_per_filter_config"][name].get("rbac", {}).get("rules", {}).get("policies", {})
            )
            for key, policy in rules.items():
                place = int(key[1])
                sources = cases[number][place].rules[0].sources
                policy["principals"] = [{"or_ids": {"ids": [principal_id(one) for one in sources]}}]
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": TLS,
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(folder / "envoy.pem")},
                        "private_key": {"filename": str(folder / "envoy.key")},
                    }
                ],
                "validation_context": {"trusted_ca": {"filename": str(folder / "authority.pem")}},
            },
        },
    }
    return made


def certificates(folder: Path) -> dict[str, ssl.SSLContext]:
    authority, key = certificate(ca=True, common_name="authority")
    write(folder, "authority", authority, key)
    for name, uri in {**CLIENTS, "envoy": "spiffe://td/envoy"}.items():
        names: list[x509.GeneralName] = (
            [x509.UniformResourceIdentifier(uri)] if uri else [x509.DNSName("web")]
        )
        write(folder, name, *certificate(*names, issuer=(authority, key), common_name=name))
    return {
        name: client_tls(folder / "authority.pem", (folder / f"{name}.pem", folder / f"{name}.key"))
        for name in CLIENTS
    }


def test_envoys_own_filter_knows_the_same_callers(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    cases = [policies(chance) for _ in range(CASES)]
    contexts = certificates(tmp_path)
    identify = Callers(Peers()).identify
    sets = [PolicySet(case, options=Options(identify=identify)) for case in cases]
    decided: Counter[bool] = Counter()
    known: Counter[str] = Counter()
    unknown: list[str] = []
    with Processes(tmp_path) as processes:
        envoy = start_envoy(processes, config(cases, tmp_path))
        for name, uri in CLIENTS.items():
            connection = HTTPSConnection(LOOPBACK, envoy.port, timeout=30, context=contexts[name])
            for number, compiled in enumerate(sets):
                connection.request("GET", "/", headers={envoy_rbac.CASE_HEADER: str(number)})
                response = connection.getresponse()
                response.read()
                allowed = compiled.decide(Request("GET", "/", uri or "web")).allowed
                decided[allowed] += 1
                if (response.status == 200) is allowed:
                    continue
                known["no SPIFFE ID" if name in NO_SPIFFE_ID else ""] += 1
                if name not in NO_SPIFFE_ID:
                    unknown.append(f"{name}: Envoy {response.status}, ours {allowed}, {cases[number]}")
            connection.close()
    print(f"seed {SEED}, decided {dict(decided)}, known differences {dict(known)}")  # noqa: T201 - shown on failure
    assert not unknown, f"{len(unknown)} of {CASES * len(CLIENTS)}:\n" + "\n".join(unknown[:10])
    assert min(decided.values()) > CASES
