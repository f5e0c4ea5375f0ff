"""`replay` and `check` on a service that runs: what it wrote down is decided again, and what the log can't tell is said."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envoy_authz.cli import app
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz
from envoy_sidecar import cli
from tests.authz.commands.conftest import Run

POLICIES = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders}
spec:
  rules:
    - from: [{source: {principals: ["shop.example/ns/web/sa/*"]}}]
      to: [{operation: {methods: [GET], paths: ["/orders/*"]}}]
  allowMutations:
    setHeaders: [{name: x-caller, from: source.principal}]
    removeHeaders: [x-debug]
    setQuery: [{name: checked, value: "yes"}]
    removeQuery: [debug]
    metadata: [{name: by, value: orders}]
---
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: no-exports}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["/orders/export"]}}]}]
  denyResponse: {status: 451}
"""
WEB, OPS = "spiffe://shop.example/ns/web/sa/x", "spiffe://shop.example/ns/ops/sa/x"
ASKED = [
    ("/orders/1", WEB, "red"),
    ("/orders/2", WEB, "blue"),
    ("/orders/export", WEB, "red"),
    ("/orders/1", OPS, "red"),
    ("/reports?token=secret", OPS, "red"),
]


@dataclass(frozen=True, slots=True)
class Logged:
    service: Service
    policies: Path
    log: Path
    codes: list[int]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """Run the service, and ask it what `ASKED` says, so that all of it is in its log."""
    folder = tmp_path_factory.mktemp("replay")
    policies, log = folder / "policies.yaml", folder / "decisions.log"
    policies.write_text(POLICIES, "utf-8")
    options = ("--decision-log", str(log), "--log-allows", "1", "--log-attribute", "request.headers[x-team]")
    with Processes(folder) as processes:
        service = start_authz(processes, policies, options)
        service.wait_ready()
        codes = []
        for path, principal, team in ASKED:
            asked = ("--path", path, "--principal", principal, "--header", f"x-team: {team}")
            with pytest.raises(SystemExit) as stopped:
                cli.run(app, ["check", "--listen", f"127.0.0.1:{service.port}", *asked])
            assert isinstance(stopped.value.code, int)
            codes.append(stopped.value.code)
        service.process.until(
            lambda: True if log.read_bytes().count(b"\n") == len(ASKED) else None, "the decisions in the log"
        )
        kept = log.with_name("kept.log")
        kept.write_bytes(log.read_bytes())  # the tests of `check` ask more
        yield Logged(service, policies, kept, codes)


def changed(folder: Path, *pairs: tuple[str, str]) -> Path:
    text = POLICIES
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    file = folder / "candidate.yaml"
    file.write_text(text, "utf-8")
    return file


def test_check_exits_as_the_service_decides(logged: Logged) -> None:
    assert logged.codes == [0, 0, 1, 1, 1]


def test_check_shows_what_an_allowance_changes(run: Run, logged: Logged) -> None:
    asked = ("--listen", f"127.0.0.1:{logged.service.port}", "--path", "/orders/9", "--principal", WEB)
    code, shown, _ = run("check", *asked)
    assert code == 0
    assert shown.splitlines() == [
        "allowed",
        f"  x-caller: {WEB}",
        "  removes x-debug",
        "  sets the query parameter checked to yes",
        "  removes the query parameter debug",
        "  metadata by = orders",
    ]
    code, shown, _ = run("check", *asked, "--format", "json")
    assert (code, json.loads(shown)["allowed"]) == (0, True)


def test_check_shows_what_a_denial_answers(run: Run, logged: Logged) -> None:
    asked = (
        "--listen",
        f"127.0.0.1:{logged.service.port}",
        "--curl",
        "curl https://shop.example/orders/export",
    )
    code, shown, _ = run("check", *asked)
    assert code == 1
    first, *rest = shown.splitlines()
    assert first == "denied with 451: denied by AuthorizationPolicy no-exports (spec.rules[0])"
    assert "  x-envoy-authz-policy: no-exports" in rest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--listen", "127.0.0.1:1"), "127.0.0.1:1: UNAVAILABLE"),
        (("--claims", "{}"), "--claims: a running service verifies tokens"),
        (("--tls-cert", "x"), "--tls-cert and --tls-key go together"),
        (("--tls-cert", "x", "--tls-key", "x"), "--tls-cert needs --tls-ca"),
        (("--tls-server-name", "x"), "--tls-server-name needs --tls-ca"),
        (("--tls-ca", "/nowhere"), "--tls-ca /nowhere: No such file"),
        (("--listen", "nonsense"), "--listen"),
    ],
)
def test_without_an_answer_check_is_a_2(run: Run, options: tuple[str, ...], said: str) -> None:
    code, shown, error = run("check", *options)
    assert (code, shown) == (2, "")
    assert said in error


def test_the_same_policies_flip_nothing(run: Run, logged: Logged) -> None:
    code, shown, said = run("replay", str(logged.log), "--policies", str(logged.policies))
    assert (code, shown, said) == (0, "", "5 the same\n")


def test_flips_are_grouped_by_caller_and_rule_with_what_is_newly_allowed_first(
    run: Run, logged: Logged, tmp_path: Path
) -> None:
    candidate = changed(tmp_path, ("ns/web/sa/*", "ns/ops/sa/*"), ('"/orders/*"', '"/orders/*", "/reports"'))
    code, shown, said = run("replay", str(logged.log), "--policies", str(candidate))
    assert code == 1
    firsts = [line for line in shown.splitlines() if not line.startswith(" ")]
    assert firsts == [
        "new allow, 2 times, shop.example/ns/ops/sa/x",
        "new deny, 2 times, shop.example/ns/web/sa/x",
    ]
    assert "  was  denied by no policy\n" in shown
    assert f"  is   allowed by AuthorizationPolicy orders (spec.rules[0]) at {candidate}:7:7" in shown
    assert said == "1 the same, 2 new allows, 2 new denies\n"
    assert "secret" not in shown
    data = json.loads(run("replay", str(logged.log), "--policies", str(candidate), "--format", "json")[1])
    assert [(one["count"], one["is"]["decision"]) for one in data["flips"]] == [(2, "allow"), (2, "deny")]
    assert data["flips"][0]["example"]["id"] in logged.log.read_text("utf-8")


BY_HEADER = (
    'paths: ["/orders/*"]}}]',
    'paths: ["/orders/*"]}}]\n      when: [{key: "request.headers[%s]", values: [red]}]',
)


def test_an_attribute_that_was_logged_decides(run: Run, logged: Logged, tmp_path: Path) -> None:
    before, after = BY_HEADER
    candidate = changed(tmp_path, (before, after % "x-team"))
    code, shown, said = run("replay", str(logged.log), "--policies", str(candidate))
    assert code == 1
    assert "GET /orders/2, by shop.example/ns/web/sa/x, with x-team: blue" in shown
    assert said == "4 the same, 1 new denies\n"


def test_what_the_log_has_not_is_not_guessed(run: Run, logged: Logged, tmp_path: Path) -> None:
    before, after = BY_HEADER
    candidate = changed(tmp_path, (before, after % "x-other"))
    code, shown, said = run("replay", str(logged.log), "--policies", str(candidate))
    assert code == 0
    assert shown == "not settled, 2 times: depends on what the log has not: header x-other\n"
    assert said == "3 the same, 2 not settled\n"


def line(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": "a1",
        "decision": "deny",
        "policy": "",
        "rule": None,
        "reason": "no_policy_matched",
        "request": {"method": "GET", "path": "/orders/1", "host": "shop.example"},
        "source": {"principal": WEB, "address": "10.0.0.1"},
    }
    return {**made, **changes}


def written(folder: Path, *lines: object) -> str:
    file = folder / "log"
    file.write_text(
        "".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in lines), "utf-8"
    )
    return str(file)


@pytest.mark.parametrize(
    "masked",
    [
        {"source": {"principal": "spiffe://***/ns/web/sa/x", "address": ""}},
        {"request": {"method": "GET", "path": "/orders/" + "x" * (2048 - 8), "host": ""}},
        {"request": {"method": "GET", "path": "/orders/1;a=***", "host": ""}},
    ],
    ids=["masked", "cut", "a matrix parameter"],
)
def test_what_is_masked_or_cut_is_not_known(
    run: Run, logged: Logged, tmp_path: Path, masked: dict[str, Any]
) -> None:
    log = written(tmp_path, line(**masked))
    code, shown, _ = run("replay", log, "--policies", str(logged.policies))
    assert code == 0
    assert shown.startswith("not settled, 1 times")


def test_a_certain_deny_is_certain_whatever_else_is_unknown(run: Run, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(
        POLICIES.replace("methods: [GET], ", "").replace(
            "- from:", "- when: [{cel: \"request.headers['x'] == 'y'\"}]\n    - from:"
        ),
        "utf-8",
    )
    request = {"method": "GET", "path": "/orders/export", "host": ""}
    log = written(tmp_path, line(decision="allow", request=request), line(request={**request, "path": "/x"}))
    code, shown, said = run("replay", log, "--policies", str(candidate))
    assert code == 1
    assert said == "1 new denies, 1 not settled\n"
    assert "header x, request.headers" in shown


def test_tokens_of_the_log_are_those_that_were_verified(run: Run, tmp_path: Path) -> None:
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text(
        POLICIES.replace('principals: ["shop.example/ns/web/sa/*"]', 'requestPrincipals: ["https://i/*"]'),
        "utf-8",
    )
    log = written(tmp_path, line(tokens=["https://i/ann"]), line())
    code, _, said = run("replay", log, "--policies", str(candidate))
    assert (code, said) == (1, "1 the same, 1 new allows\n")


def test_what_is_no_decision_of_policies_is_counted(run: Run, logged: Logged, tmp_path: Path) -> None:
    log = written(
        tmp_path,
        line(reason="unauthenticated"),
        "nonsense\n",
        "[]\n",
        "[" * 5000 + "\n",
        '{"reason": 1}\n',
        line(decision="x"),
        "\n",
    )
    code, shown, said = run("replay", log, "--policies", str(logged.policies))
    assert (code, shown) == (0, "")
    assert said == "1 refused before policies, 5 unreadable lines\n"
    log = written(tmp_path)
    assert run("replay", log, "--policies", str(logged.policies)) == (0, "", "the log is empty\n")


def test_a_log_that_is_not_there_is_a_2(run: Run, logged: Logged) -> None:
    code, shown, said = run("replay", "/nowhere", "--policies", str(logged.policies))
    assert (code, shown) == (2, "")
    assert "/nowhere: No such file" in said
    assert run("replay", str(logged.log))[0] == 2
