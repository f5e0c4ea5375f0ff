"""The same policies and requests through real Envoy's own `rbac` filter: the same decisions, or a known difference.

Known differences, each with its reason:

- `refused`: Envoy answers 400 before any filter (a path that can't be normalized, `%00` in it). Nothing reaches a
  policy, so there is nothing to compare.
- `repeated`: Envoy compares the values of a repeated header joined by commas, we each of them as well (trap 6), so that
  `user,admin` neither gets around a DENY of `admin`, nor an ALLOW of both fails.
- `escapes`: Envoy's normalization keeps the case of the digits of an escape (`%2f`), ours writes them in upper case
  (RFC 3986 section 6.2.2.1), so that `/a%2fb` and `/a%2Fb` are one path.
- `parameters`: Envoy 1.40 takes a literal `..;x` for `..` (but not `%2e%2e;x`), which RFC 3986 section 5.2.4 does not.
  Ours keeps it as it is, and the guard, which is off here, denies where the two would be decided differently.
- Templates are no difference: Envoy's match only characters that a segment may hold; so do ours, since all others are escaped before.
"""

import random
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from envoy_authz.core import (
    Action,
    Condition,
    Operation,
    Options,
    PathAmbiguity,
    Policy,
    PolicySet,
    Request,
    Rule,
    Source,
)
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from tests.conformance.authz import envoy_rbac

SEED = 20261123
CASES = 120
REQUESTS_A_CASE = 60

METHODS = ["GET", "PUT", "P*", "*T", "*", "DELETE"]
PATHS = [
    *("/", "/a", "/a/b", "/a*", "/a/*", "*b", "*/b", "*", "/a%2Fb", "/A", "//a", "/c;v=1"),
    *("/{*}", "/a/{*}", "/{*}/b", "/a/{**}", "/{**}", "/{*}/b/{**}", "/a/{*}/c/{*}"),
]
HOSTS = ["a.example", "A.example", "a.example:*", "*.example", "a.*", "*"]
VALUES = ["x", "y", "x*", "*y", "*"]
BLOCKS = ["127.0.0.0/8", "127.0.0.1/32", "10.0.0.0/8"]
REMOTES = ["203.0.113.0/24", "127.0.0.1/32", "203.0.113.7/32"]

SENT_METHODS = ["GET", "PUT", "POST", "DELETE", "TRACE2"]
SENT_PATHS = [
    *(
        "/",
        "/a",
        "/a/",
        "/a/b",
        "/ab",
        "/b",
        "/a/b/c",
        "/A",
        "/a?b",
        "/b?/a",
        "/a/../b",
        "/a/./b",
        "//a",
        "/a//b",
    ),
    *(
        "/%61",
        "/a%2Fb",
        "/a%2fb",
        "/a%5cb",
        "/a/%2e%2e/b",
        "/a/..",
        "/a;x",
        "/c;v=1",
        "/x/b/y",
        "/a/x/c/y",
        "/a%20b",
    ),
    *("/a/%2E/b", "/~a", "/%7Ea", "/x/b/", "/a/.b", "/a%00", "/..", "/a/..;/b", "/a/...", "/a%", "/a%zz"),
]
SENT_HOSTS = ["a.example", "A.EXAMPLE", "a.example:80", "b.a.example", "example", "a.b"]
SENT_VALUES: list[list[str]] = [[], ["x"], ["y"], ["xy"], ["X"], [""], ["x", "y"], ["x,y"]]
SENT_REMOTES = ["203.0.113.7", "203.0.113.8", "6.6.6.6", "203.0.113.7, 6.6.6.6", ""]


def rule(chance: random.Random) -> Rule:
    def some(texts: list[str], likely: float = 0.4) -> tuple[str, ...]:
        return tuple(chance.sample(texts, chance.randint(1, 2))) if chance.random() < likely else ()

    operations = [
        Operation(
            methods=some(METHODS), not_methods=some(METHODS, 0.15), paths=some(PATHS, 0.7),
            not_paths=some(PATHS, 0.2), hosts=some(HOSTS, 0.25), not_hosts=some(HOSTS, 0.1),
        )
        for _ in range(chance.randint(0, 2))
    ]  # fmt: skip
    sources = [
        Source(
            ip_blocks=some(BLOCKS, 0.3), not_ip_blocks=some(BLOCKS, 0.1),
            remote_ip_blocks=some(REMOTES, 0.3), not_remote_ip_blocks=some(REMOTES, 0.2),
        )
        for _ in range(chance.randint(0, 1))
    ]  # fmt: skip
    when = [
        Condition("request.headers[x-team]", some(VALUES, 0.7), some(VALUES, 0.4))
        for _ in range(chance.randint(0, 1))
    ]
    return Rule(tuple(sources), tuple(operations), tuple(when))


def policies(chance: random.Random) -> list[Policy]:
    actions = [Action.ALLOW, Action.ALLOW, Action.DENY][: chance.randint(1, 3)]
    return [
        Policy(f"p{number}", "ns", action, tuple(rule(chance) for _ in range(chance.randint(1, 2))))
        for number, action in enumerate(actions)
    ]


class Sent(NamedTuple):
    method: str
    path: str
    host: str
    values: list[str]
    forwarded_for: str


def requests(chance: random.Random) -> Iterator[Sent]:
    for _ in range(REQUESTS_A_CASE):
        yield Sent(*map(chance.choice, (SENT_METHODS, SENT_PATHS, SENT_HOSTS, SENT_VALUES, SENT_REMOTES)))  # type: ignore[arg-type] # each from its own list


def envoys(connection: HTTPConnection, case: int, sent: Sent) -> int:
    connection.putrequest(sent.method, sent.path, skip_host=True, skip_accept_encoding=True)
    connection.putheader("host", sent.host)
    connection.putheader(envoy_rbac.CASE_HEADER, str(case))
    for value in sent.values:
        connection.putheader("x-team", value)
    if sent.forwarded_for:
        connection.putheader("x-forwarded-for", sent.forwarded_for)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    return response.status


def ours(compiled: PolicySet, sent: Sent) -> bool:
    headers = {"x-team": ",".join(sent.values)} if sent.values else {}
    # What Envoy makes of the header before a filter sees it (use_remote_address).
    headers["x-forwarded-for"] = f"{sent.forwarded_for},{LOOPBACK}" if sent.forwarded_for else LOOPBACK
    request = Request(
        sent.method, sent.path, host=sent.host, source_address=LOOPBACK, request_headers=headers
    )
    return compiled.decide(request).allowed


def difference(sent: Sent, status: int) -> str:
    if status == 400:
        return "refused"
    if len(sent.values) > 1 or any("," in value for value in sent.values):
        return "repeated"
    if "%2f" in sent.path or "%5c" in sent.path:
        return "escapes"
    if "/..;" in sent.path:
        return "parameters"
    return ""


def test_envoys_own_filter_decides_the_same(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    cases = [policies(chance) for _ in range(CASES)]
    known: Counter[str] = Counter()
    decided: Counter[bool] = Counter()
    unknown: list[str] = []
    with Processes(tmp_path) as processes:
        envoy = start_envoy(processes, envoy_rbac.config(cases))
        connection = HTTPConnection(LOOPBACK, envoy.port, timeout=30)
        for number, case in enumerate(cases):
            options = Options(trusted_hops=1, path_ambiguity=PathAmbiguity.OFF)
            compiled = PolicySet(case, options=options)
            for sent in requests(chance):
                status = envoys(connection, number, sent)
                allowed = ours(compiled, sent)
                decided[allowed] += 1
                if (status == 200) is allowed:
                    continue
                why = difference(sent, status)
                known[why] += 1
                if not why:
                    unknown.append(f"{sent}: Envoy {status}, ours {allowed}, {case}")
        connection.close()
    print(f"seed {SEED}, decided {dict(decided)}, known differences {dict(known)}")  # noqa: T201 - shown on failure
    assert not unknown, f"{len(unknown)} of {CASES * REQUESTS_A_CASE}:\n" + "\n".join(unknown[:10])
    assert min(decided.values()) > CASES * REQUESTS_A_CASE / 10
