"""The record of a decision holds what a candidate set of policies can be tried on, and nothing that is secret."""

import json
from typing import Any

from envoy_authz.core import Policy, PolicySet, Rule
from envoy_authz.core.record import Record
from envoy_authz.core.request import Request
from envoy_authz.decision_log import Masks, Shown
from envoy_authz.decision_log.shape import shown
from envoy_authz.wire import CheckAdapter, Recorder
from envoy_authz.wire_json import make_request

ALLOWING = PolicySet([Policy("all", "shop", rules=(Rule(),))])


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def wants(self, *, allowed: bool) -> bool:  # noqa: ARG002 - the protocol's
        return True

    def put(self, record: Record) -> None:
        self.records.append(record)


def recorded(request: Request) -> Record:
    log = Kept()
    recorder = Recorder(log, ALLOWING.facts)
    CheckAdapter(ALLOWING, recorder=recorder).check(make_request(request))
    (record,) = log.records
    return record


def entry(record: Record, *masks: str) -> Any:
    found: Shown = json.loads(json.dumps(shown(record, Masks(masks))))
    return found


def test_it_says_which_workload_the_request_was_for() -> None:
    record = recorded(
        Request(
            "GET",
            "/x",
            context={"namespace": "shop", "labels.app": "web", "other": "secret"},
            destination_labels={"app": "old", "team": "a"},
            destination_port=8443,
            sni="shop.example",
        )
    )
    assert (record.namespace, record.labels) == ("shop", {"app": "web", "team": "a"})
    assert (record.port, record.sni) == (8443, "shop.example")
    line = entry(record)
    assert line["workload"] == {"namespace": "shop", "labels": {"app": "web", "team": "a"}}
    assert line["destination"] == {"port": 8443, "sni": "shop.example"}
    assert "secret" not in str(line)


def test_what_is_unknown_of_the_workload_is_not_written() -> None:
    record = recorded(Request("GET", "/x"))
    assert (record.namespace, record.labels) == ("", None)
    assert not {"workload", "destination"} & entry(record).keys()


def test_a_label_is_masked_as_all_text_is() -> None:
    record = recorded(Request("GET", "/x", context={"labels.owner": "ann@shop.example"}))
    line = entry(record, r"\S+@\S+")
    assert line["workload"]["labels"] == {"owner": "***"}
