"""A shipped dashboard and its alert rules, held against what a service says at /metrics."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[1] / "docs" / "observability"
_METRIC = re.compile(r"([a-z_]+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
_OF_PROMETHEUS = {"job", "instance"}
_OF_GRAFANA = {"$__rate_interval": "5m", "$job": "(one|two)"}
"""The variables of a dashboard, with what Grafana may put there."""

Samples = dict[str, set[tuple[str, str]]]
"""The labels of each sample's name, with their values."""


def dashboard_of(service: str) -> Any:
    return json.loads((FOLDER / f"{service}-dashboard.json").read_text("utf-8"))


def alerts_of(service: str) -> list[Any]:
    groups: Any = YAML(typ="safe").load((FOLDER / f"{service}-alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions_of(service: str) -> list[str]:
    panels = [target["expr"] for panel in dashboard_of(service)["panels"] for target in panel["targets"]]
    return panels + [rule["expr"] for rule in alerts_of(service)]


def samples_of(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels.items())
    return found


def hold(expression: str, scraped: Samples) -> None:
    """Assert that *expression* is PromQL, and has only metrics and labels that were scraped."""
    parse(expression)
    used = _METRIC.findall(expression)
    assert used
    known = set(_OF_PROMETHEUS)
    for name, selectors in used:
        assert name in scraped
        labels = {label for label, _ in scraped[name]}
        known |= labels
        for label, operator, value in re.findall(r'([a-z_]+)(=~|!=|=)"([^"]*)"', selectors):
            assert label in labels | _OF_PROMETHEUS
            if operator == "=":
                assert (label, value) in scraped[name]
    for group in _GROUPED.findall(expression):
        assert {label.strip() for label in group.split(",")} <= known


def parse(expression: str) -> None:
    """Read *expression* as Prometheus does, its functions' and operators' types included; ValueError if it is none."""
    for variable, value in _OF_GRAFANA.items():
        expression = expression.replace(variable, value)
    promql_parser.parse(expression)


def bare(expression: str) -> str:
    """Return *expression* without the metrics that `hold` sees."""
    return _METRIC.sub("", expression)


def hold_form(service: str) -> None:
    """Assert that alerts say what to do and for how long they wait, and that panels have numbers and titles of their own."""
    for rule in alerts_of(service):
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        promql_parser.parse_duration(rule.get("for", "1m"))
        # Some metrics are each service's: an alert is raised by those of its own.
        assert f"{service}_" in rule["expr"]
        # To Prometheus the sum of something and nothing is nothing, so one of both alone would raise no alert.
        assert " + " not in rule["expr"]
    panels = dashboard_of(service)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len({panel["title"] for panel in panels})
