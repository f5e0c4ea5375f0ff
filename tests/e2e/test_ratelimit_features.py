"""What the rate limit filter of a real Envoy can ask for and be told, beyond a limit that is crossed."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ruamel.yaml import YAML

from envoy_demo import configs
from envoy_demo.client import Request, Response, get, send
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy, validate
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_ratelimit
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE, RATELIMIT, edge
from tests.e2e.newer import HITS_BACK, LIMIT_BESIDE_COST, RETRY_AFTER, Newer

# By the day, so that nothing is refilled however slow the machine is.
LIMITS = """
domain: more
descriptors:
  - { key: user, rate_limit: { unit: day, requests_per_unit: 10, name: by user }, metadata: { tier: free } }
  - { key: remote_address, rate_limit: { unit: day, requests_per_unit: 3 } }
"""
POLICIES = """
domain: edge
descriptors:
  - { key: unsaid, rate_limit: { unit: day, requests_per_unit: 2 } }
  - { key: deny, rate_limit: { unit: day, requests_per_unit: 2, on_store_failure: deny } }
  - { key: local, rate_limit: { unit: day, requests_per_unit: 2, on_store_failure: local } }
"""
BY_USER = {"actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]}
METADATA = "%DYNAMIC_METADATA(envoy.filters.http.ratelimit)%"
PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"


def by_filter(limit: Config) -> Config:
    """Return the part of a route that has *limit* in the filter's own configuration: elsewhere it costs 1."""
    chosen = {"@type": PER_ROUTE, "domain": "more", "rate_limits": [limit]}
    return {"route": {"cluster": "upstream"}, "typed_per_filter_config": {configs.RATELIMIT: chosen}}


def documented() -> list[Any]:
    """Return the YAML of the how-to in its order: two lists of routes, limits, and a part of a route."""
    page = configs.folder().parent / "docs" / "how-to" / "charge-what-a-request-cost.md"
    yaml = YAML(typ="safe", pure=True)
    return [
        yaml.load(block) for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    ]


SEARCH, UPLOAD, DOCUMENTED_LIMITS, OVERRIDE = documented()
BACK = {
    "match": {"prefix": "/back"},
    **by_filter(BY_USER | {"hits_addend": {"number": 4, "is_negative_hits": True}}),
}
LIMITED = {"match": {"prefix": "/limited"}, **by_filter(BY_USER | OVERRIDE)}
ROUTES: list[Config] = [
    *SEARCH,
    *UPLOAD,
    {"match": {"prefix": "/cost"}, **by_filter(BY_USER | {"hits_addend": {"format": "%REQ(x-cost)%"}})},
    *([BACK] if HITS_BACK.is_here else []),
    {
        "match": {"prefix": "/tokens"},
        **by_filter(BY_USER | {"hits_addend": {"format": "%DYNAMIC_METADATA(usage:tokens)%"}}),
    },
    *([LIMITED] if LIMIT_BESIDE_COST.is_here else []),
    {"match": {"prefix": "/plan"}, "route": {"cluster": "upstream", "rate_limits": [BY_USER | OVERRIDE]}},
    {"match": {"prefix": "/"}, **by_filter({"actions": [{"remote_address": {}}]})},
]


def manager(config: Config) -> Config:
    found: Config = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    return found


def with_routes(config: Config, routes: Sequence[Config] = ROUTES) -> None:
    (host,) = manager(config)["route_config"]["virtual_hosts"]
    metadata = {"header": {"key": "x-metadata", "value": METADATA}}
    host["routes"] = [route | {"response_headers_to_add": [metadata]} for route in routes]


def with_metadata(config: Config) -> None:
    """Say in dynamic metadata, as a filter that knows more would, that two an hour are allowed, and three were used."""
    limit = {"requests_per_unit": 2, "unit": "HOUR"}
    manager(config)["http_filters"].insert(
        0,
        {
            "name": "plan",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
                "metadata": [
                    {"metadata_namespace": "limits", "value": {"user": limit}},
                    {"metadata_namespace": "usage", "value": {"tokens": 3}},
                ],
            },
        },
    )


def by_header(key: str) -> Callable[[Config], None]:
    """Limit by the header `x-KEY` for each of the keys."""

    def change(config: Config) -> None:
        (host,) = manager(config)["route_config"]["virtual_hosts"]
        action = {"request_headers": {"header_name": f"x-{key}", "descriptor_key": key}}
        host["routes"][0]["route"].setdefault("rate_limits", []).append({"actions": [action]})

    return change


def envoy_says_retry_after(config: Config) -> None:
    configs.http_filter(config, configs.RATELIMIT)["enable_retry_after_header"] = True


@pytest.fixture(scope="module")
def service(of_module: Processes, tmp_path_factory: pytest.TempPathFactory) -> Service:
    folder = tmp_path_factory.mktemp("limits")
    (folder / "more.yaml").write_text(LIMITS)
    YAML().dump(DOCUMENTED_LIMITS, folder / "documented.yaml")
    options = ("--response-headers", "draft", "--response-body", "problem", "--response-dynamic-metadata")
    started = start_ratelimit(of_module, folder, options=(*AT_ONCE, *options))
    started.wait_ready()
    return started


@pytest.fixture(scope="module")
def envoy(of_module: Processes, upstream: Upstream, service: Service) -> Envoy:
    return edge(of_module, upstream, RATELIMIT, [service], configs.be_patient, with_routes, with_metadata)


@pytest.fixture(scope="module")
def without_store(
    of_module: Processes, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Envoy:
    """An Envoy whose service has limits, but no Redis."""
    file = tmp_path_factory.mktemp("policies") / "limits.yaml"
    file.write_text(POLICIES)
    service = start_ratelimit(of_module, file, f"redis://{LOOPBACK}:{free_port()}", AT_ONCE)
    service.wait_ready()
    changes = [by_header(key) for key in ("unsaid", "deny", "local")]
    if RETRY_AFTER.is_here:
        changes.append(envoy_says_retry_after)
    return edge(of_module, upstream, RATELIMIT, [service], configs.be_patient, *changes)


def remaining(answer: Response) -> tuple[int, int]:
    return answer.status, int(answer.headers["x-ratelimit-remaining"])


def upload(envoy: Envoy, user: str, size: int) -> Response:
    return send(envoy.port, Request("POST", "/upload", {"x-user": user}, b"x" * size))


def test_a_header_that_is_no_utf8_lifts_no_limit(envoy: Envoy) -> None:
    # The client writes a header in Latin-1, so this is the single byte.
    answers = [get(envoy.port, "/", x_user="\xff").status for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
    assert envoy.stat("cluster.upstream.ratelimit.error") == 0


def test_a_request_costs_what_hits_addend_says(envoy: Envoy) -> None:
    asked = [get(envoy.port, "/cost", x_user="ann", x_cost=cost) for cost in ("4", "4", "3", "2")]
    assert [remaining(answer) for answer in asked] == [(200, 6), (200, 2), (429, 2), (200, 0)]


def test_a_route_may_say_what_each_of_its_requests_costs(envoy: Envoy) -> None:
    asked = [get(envoy.port, "/search", x_user="henry") for _ in range(3)]
    assert [remaining(answer) for answer in asked] == [(200, 6), (200, 2), (429, 2)]


def test_a_cost_may_be_in_dynamic_metadata(envoy: Envoy) -> None:
    assert remaining(get(envoy.port, "/tokens", x_user="ivy")) == (200, 7)


@HITS_BACK.needed
def test_hits_are_given_back(envoy: Envoy) -> None:
    assert remaining(get(envoy.port, "/cost", x_user="bob", x_cost="10")) == (200, 0)
    assert remaining(get(envoy.port, "/back", x_user="bob")) == (200, 4)
    asked = [get(envoy.port, "/cost", x_user="bob", x_cost=cost) for cost in ("5", "4")]
    assert [remaining(answer) for answer in asked] == [(429, 4), (200, 0)]


@pytest.mark.parametrize("path", [pytest.param("/limited", marks=LIMIT_BESIDE_COST.needed), "/plan"])
def test_a_limit_in_dynamic_metadata_holds_instead_of_the_files(envoy: Envoy, path: str) -> None:
    answers = [get(envoy.port, path, x_user="carol") for _ in range(3)]
    assert [remaining(answer) for answer in answers] == [(200, 1), (200, 0), (429, 0)]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"2, 2;w=3600"}


def test_a_limit_in_dynamic_metadata_has_a_bucket_beside_that_of_the_file(envoy: Envoy) -> None:
    assert remaining(get(envoy.port, "/plan", x_user="judy")) == (200, 1)
    assert remaining(get(envoy.port, "/search", x_user="judy")) == (200, 6)


def test_what_is_known_when_the_stream_is_done_is_charged_then_and_never_lost(
    envoy: Envoy, service: Service
) -> None:
    def until_charged(hits: int) -> None:
        name = "ratelimit.service.rate_limit.edge.bytes.total_hits"
        line = f"{name}: {hits}\n"
        service.process.until(lambda: True if line in get(service.admin_port, "/stats").text else None, line)

    # Nobody knows before what it will cost, so more passes than there is room for; then the bucket is in debt.
    assert upload(envoy, "dave", 60).status == 200
    until_charged(60)
    assert upload(envoy, "dave", 250).status == 200
    until_charged(310)
    refused = upload(envoy, "dave", 1)
    assert refused.status == 429
    # 210 hits of debt at 100 a day: two days and more.
    assert int(refused.headers["retry-after"]) > 2 * 86_400
    assert upload(envoy, "erin", 1).status == 200


def test_a_refusal_has_the_headers_and_the_body_that_the_service_gives_it(envoy: Envoy) -> None:
    get(envoy.port, "/cost", x_user="frank", x_cost="10")
    refused = get(envoy.port, "/cost", x_user="frank", x_cost="5")
    assert refused.status == 429
    # Half a day, less what has gone by.
    assert 43_200 - 120 < int(refused.headers["retry-after"]) <= 43_200
    named = [refused.headers[f"ratelimit-{name}"] for name in ("limit", "remaining", "reset")]
    assert named == ["10", "0", refused.headers["retry-after"]]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["limits"] == [{"name": "by user", "limit": "10/DAY", "remaining": 0}]


def test_an_answer_that_passes_has_headers_but_no_wait_and_says_its_metadata(envoy: Envoy) -> None:
    passed = get(envoy.port, "/cost", x_user="grace", x_cost="3")
    assert passed.headers["ratelimit-remaining"] == "7"
    assert "retry-after" not in passed.headers
    said = json.loads(passed.headers["x-metadata"])
    assert said["descriptors"] == [{"entries": ["user=grace"], "hitsAddend": 3}]
    assert said["metadata"] == {"tier": "free"}


def test_without_its_store_each_limit_has_the_policy_that_its_file_says(without_store: Envoy) -> None:
    def statuses(headers: dict[str, str]) -> list[int]:
        return [send(without_store.port, Request("GET", "/", headers)).status for _ in range(4)]

    assert statuses({"x-unsaid": "a"}) == [200] * 4
    assert statuses({"x-deny": "a"}) == [429] * 4
    assert statuses({"x-local": "a"}) == [200, 200, 429, 429]
    assert statuses({"x-unsaid": "a", "x-local": "b", "x-deny": "a"}) == [429] * 4
    assert statuses({"x-local": "b"}) == [200, 200, 429, 429], "a refused request was charged"
    assert without_store.stat("cluster.upstream.ratelimit.error") == 0


@RETRY_AFTER.needed
def test_envoy_itself_makes_retry_after_of_the_wait_for_this_cost(without_store: Envoy) -> None:
    refused = [get(without_store.port, "/", x_local="c") for _ in range(3)][-1]
    assert refused.status == 429
    assert 43_200 - 120 < int(refused.headers["retry-after"]) <= 43_200


@pytest.mark.parametrize(
    ("newer", "change"),
    [
        (RETRY_AFTER, envoy_says_retry_after),
        (LIMIT_BESIDE_COST, lambda config: with_routes(config, [LIMITED])),
        (HITS_BACK, lambda config: with_routes(config, [BACK])),
    ],
    ids=lambda value: value.minor if isinstance(value, Newer) else "",
)
def test_what_is_said_to_need_a_newer_envoy_does(
    newer: Newer, change: Callable[[Config], None], processes: Processes
) -> None:
    config = configs.on_ports(configs.load(RATELIMIT[0]), {"upstream": [1], RATELIMIT[1]: [2]})
    change(config)
    file = processes.folder / "envoy.json"
    file.write_text(json.dumps(config), "utf-8")
    code, said = validate(processes, file)
    assert (code == 0) == newer.is_here, said
