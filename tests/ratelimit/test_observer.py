"""What is seen of decisions: metrics by rule within their bounds, the heaviest keys, the sampled log."""

import logging
from collections.abc import Sequence

import pytest

from envoy_ratelimit.config.inline import load_text
from envoy_ratelimit.core.limiter import Hits, Limiter
from envoy_ratelimit.observe.decision_log import MAX_RECORDS_PER_S, DecisionLog, DecisionLogOptions
from envoy_ratelimit.observe.metrics import RuleMetrics, known_of, reference_stats
from envoy_ratelimit.observe.naming import KeyStyle
from envoy_ratelimit.observe.observer import QUEUE, Observer
from envoy_ratelimit.stores.memory import MemoryStore

LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 10 }
  - key: shadow
    shadow_mode: true
    rate_limit: { unit: day, requests_per_unit: 1 }
  - key: free
    rate_limit: { unlimited: true }
  - key: path
    value: /api/*
    rate_limit: { unit: day, requests_per_unit: 1 }
"""


class Seen:
    """Decides requests and shows them to an observer."""

    def __init__(
        self,
        text: str = LIMITS,
        *,
        log: DecisionLogOptions | None = None,
        keys: KeyStyle = "plain",
        rules: int = 100,
        near: float = 0.8,
    ) -> None:
        self.metrics = RuleMetrics(max_rules=rules, near_limit_ratio=near)
        self.log = DecisionLog(log or DecisionLogOptions(), chance=lambda: 0.5, clock=lambda: 1.0)
        self.observer = Observer(self.metrics, self.log, keys=keys, salt="s")
        self._text = text
        self._store = MemoryStore(clock=lambda: 1_000_000)
        self.reload()

    def reload(self, text: str = "") -> None:
        rules = load_text(text or self._text).rules
        self._limiter = Limiter(rules, self._store)
        self.metrics.hold(known_of(rules))

    def asks(self, key: str, value: str = "ann", times: int = 1, cost: int | None = None) -> None:
        self.asks_for([([(key, value)], cost, None)], times)

    def asks_for(
        self, descriptors: Sequence[Hits], times: int = 1, domain: str = "edge", hits: int = 0
    ) -> None:
        for _ in range(times):
            plan = self._limiter.plan(domain, descriptors, hits)
            (answer,) = self._limiter.settle([plan])
            self.observer.observe(plan, answer)

    def hits(self) -> dict[tuple[str, ...], int]:
        return {labels[1:]: count for labels, count in self.metrics.hits.counts.items()}

    def decisions(self) -> dict[tuple[str, ...], int]:
        return {labels[1:]: count for labels, count in self.metrics.decisions.counts.items()}


def test_hits_are_counted_by_rule_and_result() -> None:
    seen = Seen()
    seen.asks("user", times=11)
    seen.asks("shadow", times=2)
    seen.asks("free")
    seen.asks("nobody")
    assert seen.hits() == {
        ("user", "within_limit"): 8,
        ("user", "near_limit"): 2,
        ("user", "over_limit"): 1,
        ("shadow", "near_limit"): 1,
        ("shadow", "shadow_mode"): 1,
        ("free", "unlimited"): 1,
    }


def test_a_hit_counts_its_cost_and_a_peek_nothing() -> None:
    seen = Seen()
    seen.asks("user", cost=4)
    seen.asks("user", cost=0)
    seen.asks("user", cost=-2)
    seen.asks("user", cost=20)
    assert seen.hits() == {("user", "within_limit"): 4, ("user", "over_limit"): 20}


def test_a_hit_counts_its_cost_without_a_bucket_too() -> None:
    limit = "unit: day, requests_per_unit: 10"
    seen = Seen(f"""
    domain: edge
    descriptors:
      - {{ key: base, rate_limit: {{ name: base, {limit} }} }}
      - {{ key: up, rate_limit: {{ replaces: [{{ name: base }}], {limit} }} }}
      - {{ key: free, rate_limit: {{ unlimited: true }} }}
    """)
    for cost in (5, 0, -3):
        seen.asks("free", cost=cost)
    for cost in (7, 0):
        seen.asks_for([([("base", "x")], cost, None), ([("up", "x")], 1, None)])
    assert seen.hits() == {("free", "unlimited"): 5, ("base", "replaced"): 7, ("up", "within_limit"): 2}
    seen.asks_for([([("free", "x")], None, None)], hits=4)
    assert seen.hits()["free", "unlimited"] == 9


@pytest.mark.parametrize(("near", "limit", "far"), [(0.7, 10, 7), (0.7, 20, 14), (0.7, 100, 70), (0.8, 6, 4)])
def test_near_its_limit_is_what_more_than_the_ratio_is_used_of(near: float, limit: int, far: int) -> None:
    seen = Seen(LIMITS.replace("requests_per_unit: 10", f"requests_per_unit: {limit}"), near=near)
    seen.asks("user", times=limit)
    assert seen.hits() == {("user", "within_limit"): far, ("user", "near_limit"): limit - far}


def test_decisions_are_counted_by_rule_and_outcome_whatever_their_cost() -> None:
    seen = Seen()
    seen.asks("user", cost=4)
    seen.asks("user", cost=0)
    seen.asks("user", cost=20)
    seen.asks("shadow", times=2)
    seen.asks("free")
    seen.asks_for([([("user", "bob")], None, None), ([("nobody", "x")], None, None)])
    seen.asks_for([([("user", "bob")], None, None)], domain="made up")
    assert seen.decisions() == {
        ("user", "ok"): 3,
        ("user", "over_limit"): 1,
        ("shadow", "ok"): 1,
        ("shadow", "shadowed"): 1,
        ("free", "unlimited"): 1,
    }
    assert seen.metrics.unmatched.counts == {("edge",): 1, ("(unknown)",): 1}


def test_the_references_names_add_up() -> None:
    seen = Seen()
    seen.asks("user", times=11)
    assert dict(reference_stats(seen.metrics.hits.counts)) == {
        f"ratelimit.service.rate_limit.edge.user.{name}": count
        for name, count in (("total_hits", 11), ("within_limit", 10), ("near_limit", 2), ("over_limit", 1))
    }


def test_no_value_of_a_request_ends_a_line_of_the_references_names() -> None:
    limit = "rate_limit: { unit: day, requests_per_unit: 9 }"
    seen = Seen(f"domain: edge\ndescriptors:\n  - {{ key: user, detailed_metric: true, {limit} }}\n")
    for end in "\n\r\x00\x0b\x1e\x85\u2028\u2029":
        seen.asks("user", f"a{end}b: 7")
    assert dict(reference_stats(seen.metrics.hits.counts)) == {
        f"ratelimit.service.rate_limit.edge.user_a_b: 7.{name}": 8 for name in ("total_hits", "within_limit")
    }


def test_rules_beyond_the_cap_are_other_and_counted() -> None:
    seen = Seen(rules=2)
    for key in ("user", "shadow", "free", "free"):
        seen.asks(key)
    assert seen.hits()["other", "unlimited"] == 2
    assert seen.metrics.overflow.value() == 2
    seen.asks("user")
    assert seen.metrics.overflow.value() == 2


def test_beyond_the_cap_a_refusal_is_still_counted_as_a_refusal() -> None:
    seen = Seen(rules=1)
    seen.asks("user")
    seen.asks("path", "/api/a", times=3)
    assert seen.decisions() == {("user", "ok"): 1, ("other", "ok"): 1, ("other", "over_limit"): 2}


def test_values_get_only_the_labels_that_rules_leave() -> None:
    limit = "rate_limit: { unit: day, requests_per_unit: 9 }"
    valued = f"  - {{ key: user, detailed_metric: true, {limit} }}\n"
    plain = "".join(f"  - {{ key: plain{number}, {limit} }}\n" for number in range(3))
    seen = Seen(f"domain: edge\ndescriptors:\n{valued}{plain}", rules=5)
    for number in range(9):
        seen.asks("user", f"flood {number}")
    for number in range(3):
        seen.asks(f"plain{number}")
    assert set(seen.decisions()) == {
        *((f"user_flood {number}", "ok") for number in range(2)),
        *((f"plain{number}", "ok") for number in range(3)),
        ("other", "ok"),
    }


def test_a_rule_that_is_gone_is_gone_from_the_metrics_and_makes_room() -> None:
    limit = "rate_limit: { unit: day, requests_per_unit: 9 }"
    text = f"domain: edge\ndescriptors: [{{ key: user, value_to_metric: true, {limit} }}, {{ key: old, {limit} }}]\n"
    seen = Seen(text, rules=3)
    for key, value in (("user", "ann"), ("user", "bob"), ("user", "carl"), ("old", "x"), ("nobody", "x")):
        seen.asks(key, value)
    seen.reload(text.replace("old", "new"))
    seen.asks("new")
    assert seen.decisions() == {
        **{(f"user_{name}", "ok"): 1 for name in ("ann", "bob")},
        ("new", "ok"): 1,
        ("other", "ok"): 1,
    }
    seen.reload(text.replace("user", "person").replace("edge", "core"))
    assert seen.decisions() == {("other", "ok"): 1}
    assert seen.metrics.unmatched.counts == {}


def test_values_are_in_metrics_where_the_file_says_so_and_bounded() -> None:
    limit = "rate_limit: { unit: day, requests_per_unit: 9 }"
    text = f"""
    domain: edge
    descriptors:
      - key: user
        detailed_metric: true
        {limit}
      - key: path
        value: /api/*
        value_to_metric: true
        descriptors:
          - {{ key: method, {limit} }}
    """
    seen = Seen(text, rules=3)
    seen.asks("user", "ann")
    seen.asks("user", "bob", times=2)
    seen.asks_for([([("path", "/api/a"), ("method", "GET")], None, None)])
    for number in range(50):
        seen.asks("user", f"flood {number}")
    assert seen.hits() == {
        ("user_ann", "within_limit"): 1,
        ("user_bob", "within_limit"): 2,
        ("path_/api/a.method", "within_limit"): 1,
        ("other", "within_limit"): 50,
    }
    assert seen.metrics.overflow.value() == 50


def test_a_rule_that_is_reloaded_goes_on_counting() -> None:
    seen = Seen()
    seen.asks("user")
    seen.reload()
    seen.asks("user")
    assert seen.hits() == {("user", "within_limit"): 2}


async def test_the_heaviest_keys_are_named() -> None:
    seen = Seen()
    seen.asks("user", "ann", times=3)
    seen.asks("user", "bob", times=12)
    seen.asks("path", "/api/a:b", times=2)
    seen.asks("shadow", times=2)
    await seen.observer.digest()
    top = seen.observer.top(2)
    assert [(row.rule, row.key, row.hits, row.error) for row in top["hottest"]] == [
        ("user", "bob", 12, 0),
        ("user", "ann", 3, 0),
    ]
    assert [(row.rule, row.key, row.hits) for row in top["denied"]] == [
        ("user", "bob", 2),
        ("path_/api/*", "/api/a:b", 1),
    ]
    assert [(row.rule, row.key, row.hits) for row in top["shadowed"]] == [("shadow", "ann", 1)]


async def test_keys_can_be_hashed_or_left_out() -> None:
    for keys, shown in (("hashed", "#"), ("none", "")):
        seen = Seen(keys=keys)  # type: ignore[arg-type]
        seen.asks("user", "ann", times=12)
        await seen.observer.digest()
        (row,) = seen.observer.top(5)["denied"]
        assert row.key.startswith(shown)
        assert "ann" not in row.key


async def test_beyond_the_queue_each_decision_stands_for_several() -> None:
    seen = Seen()
    seen.asks("user", times=QUEUE * 3)
    await seen.observer.digest()
    (row,) = seen.observer.top(1)["hottest"]
    assert row.hits == QUEUE * 3
    await seen.observer.digest()
    assert seen.observer.top(1)["hottest"] == [row]


@pytest.mark.parametrize(
    ("keys", "key"), [("plain", "ann"), ("hashed", "#"), ("none", None)], ids=["plain", "hashed", "none"]
)
async def test_the_log_says_which_rule_limited_which_key(
    keys: KeyStyle, key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "envoy_ratelimit")
    seen = Seen(log=DecisionLogOptions(sample=1.0, keys=keys, salt="pepper"))
    seen.asks("user", "ann", times=11)
    await seen.observer.digest()
    (record,) = caplog.records
    fields = vars(record)
    assert (fields["domain"], fields["rule"], fields["limit"]) == ("edge", "user", "10/DAY")
    assert (fields["verdict"], fields["cost"], fields["remaining"]) == ("over_limit", 1, 0)
    assert fields["wait_s"] == 8640.0
    assert ("key" in fields) == (key is not None)
    assert str(fields.get("key", "")).startswith(key or "")
    assert ("ann" in str(fields)) == (keys == "plain")


async def test_the_log_is_sampled_and_of_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "envoy_ratelimit")
    quiet = Seen(log=DecisionLogOptions(sample=0.4))
    loud = Seen(log=DecisionLogOptions(sample=0.6))
    for seen in (quiet, loud):
        seen.asks("user", times=10 + 2 * MAX_RECORDS_PER_S)
        await seen.observer.digest()
    assert len(caplog.records) == MAX_RECORDS_PER_S
    assert (quiet.log.suppressed, loud.log.suppressed) == (0, MAX_RECORDS_PER_S)
