"""The tests that Envoy makes before the script: nothing that a session wants is skipped, here and in a real Envoy."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import betterproto2
import pytest
from envoy_data_plane.envoy.config.core.v3 import DataSource, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua as LuaFilter
from envoy_data_plane.google.protobuf import Any as Packed
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.node import Proxy
from envoy_tap.core.predicate import Expr, early, matches, parse
from envoy_tap.core.predicate.evaluator import joined
from envoy_tap.core.predicate.headers import (
    ANYTHING,
    NOTHING,
    AllOf,
    AnyOf,
    HeaderTest,
    How,
    NoneOf,
    Tests,
    superset,
)
from envoy_tap.core.predicate.lua import compiled
from envoy_tap.core.predicate.values import regex
from envoy_tap.core.session import Session
from envoy_tap.slot.matcher import guarded
from envoy_tap.slot.resources import slot_resource
from tests.tap.building import NODE, exchange, session
from tests.tap.lua import Lua
from tests.tap.predicates import combined, early_conditions, exchanges, late_conditions
from tests.tap.proxied import tapped

RUN = Lua().predicate()


def holds(tests: Tests, request: Message) -> bool:
    """Evaluate as Envoy does (a header that is not there fails its test)."""
    match tests:
        case AllOf(terms):
            return all(holds(term, request) for term in terms)
        case AnyOf(terms):
            return any(holds(term, request) for term in terms)
        case NoneOf(term):
            return not holds(term, request)
    value, text = joined(request.headers, tests.name), tests.text.encode()
    if value is None:
        return False
    if tests.how is How.REGEX:
        return regex(tests.text).fullmatch(value) is not None
    if tests.ignores_case:
        value, text = value.lower(), text.lower()
    return {
        How.EXACT: value == text,
        How.PREFIX: value.startswith(text),
        How.CONTAINS: text in value,
        How.PRESENT: True,
    }[tests.how]


@given(combined(early_conditions | late_conditions), exchanges())
def test_what_matches_passes_the_matcher_and_the_script(expr: Expr, seen: Exchange) -> None:
    request = seen.request
    assert request is not None
    passes = holds(superset(expr), request) and RUN(compiled(expr), seen)
    assert passes or not matches(expr, seen)
    assert passes or early(expr, seen) is not True


@given(st.lists(combined(early_conditions), min_size=1, max_size=3), exchanges())
def test_of_several_sessions_none_misses_what_it_wants(exprs: list[Expr], seen: Exchange) -> None:
    request = seen.request
    assert request is not None
    assert holds(superset(*exprs), request) or not any(matches(expr, seen) for expr in exprs)


@given(st.lists(combined(early_conditions | late_conditions), min_size=1, max_size=3), exchanges())
def test_without_regexes_none_is_left_and_none_misses_what_it_wants(
    exprs: list[Expr], seen: Exchange
) -> None:
    request = seen.request
    assert request is not None
    tests = superset(*exprs, by_regex=False)
    assert How.REGEX not in hows(tests)
    assert holds(tests, request) or not any(matches(expr, seen) for expr in exprs)


def hows(tests: Tests) -> set[How]:
    match tests:
        case AllOf(terms) | AnyOf(terms):
            return set().union(*map(hows, terms))
        case NoneOf(term):
            return hows(term)
    return {tests.how}


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        ("all", ANYTHING),
        ("status=5xx", ANYTHING),
        ("not status=5xx", ANYTHING),
        ("not all", NOTHING),
        ("method=GET", HeaderTest(":method", How.EXACT, "GET")),
        ("method=GET and status=5xx", HeaderTest(":method", How.EXACT, "GET")),
        ("not method=GET", NoneOf(HeaderTest(":method", How.EXACT, "GET"))),
        ("not (method=GET and status=5xx)", ANYTHING),
        ("path=/a", AnyOf((HeaderTest(":path", How.EXACT, "/a"), HeaderTest(":path", How.PREFIX, "/a?")))),
        ("not path*=a", ANYTHING),
        ("path like /a/{id}/b", HeaderTest(":path", How.PREFIX, "/a/")),
        ("path like /a/**", HeaderTest(":path", How.PREFIX, "/a/")),
        ("not path like /a/**", NoneOf(HeaderTest(":path", How.PREFIX, "/a/"))),
        ("not path like /a/*", ANYTHING),
        ("authority^=Shop", HeaderTest(":authority", How.PREFIX, "Shop", ignores_case=True)),
        ("authority~Shop", HeaderTest(":authority", How.REGEX, "(?i)Shop")),
        ("header[Host]=shop", HeaderTest(":authority", How.EXACT, "shop")),
        ("header[X-A] exists", HeaderTest("x-a", How.PRESENT)),
        ("header[x-a]~'a|b'", HeaderTest("x-a", How.REGEX, "a|b")),
    ],
)
def test_what_is_compiled(text: str, tests: Tests) -> None:
    assert superset(parse(text)) == tests


@pytest.mark.parametrize(
    ("text", "tests"),
    [
        ("header[x-a]~'a|b'", HeaderTest("x-a", How.PRESENT)),
        ("not header[x-a]~'a|b'", ANYTHING),
        (
            "header[x-a]~'a|b' and method=GET",
            AllOf((HeaderTest("x-a", How.PRESENT), HeaderTest(":method", How.EXACT, "GET"))),
        ),
    ],
)
def test_what_is_compiled_without_regexes(text: str, tests: Tests) -> None:
    assert superset(parse(text), by_regex=False) == tests


def test_nothing_stands_before_a_filter_that_every_request_needs() -> None:
    assert isinstance(guarded(ANYTHING, "slot", LuaFilter()), LuaFilter)


MARK = "function envoy_on_response(handle) handle:headers():add('x-marked', '1') end"
WANTED = [
    "method=POST",
    "path=/orders/1",
    "not path=/orders/1",
    "path^=/orders",
    "path*=rders/1",
    "not path like /orders/**",
    "path like /orders/{id}",
    "authority=EXAMPLE.org",
    "authority*=ampl",
    'authority~"EX.*[.]org"',
    "header[host]=example.org",
    "not header[host] exists",
    "header[x-a]='alice,bob'",
    "header[x-a]='' or header[x-b]^=b",
    "header[x-a] exists",
    "not header[x-a] exists",
    'header[x-a]~"[a-z]+" and method=GET',
    'not header[x-a]~".*b"',
    # Thousands of instructions, where Envoy once had a limit of a hundred.
    'header[x-a]~"([a-z]{1,50}|[0-9]{1,50}|,){1,9}"',
    "grpc.method^=orders",
    "trace_id=4bf92f3577b34da6a3ce929d0e0e4736",
    "(method=GET or path=/x) and not (header[x-b]=b or authority=other)",
    "not all",
]
REQUESTS = [
    (method, path, host, headers)
    for method in ("GET", "POST")
    for path in ("/orders/1", "/orders/1?q=/x", "/x")
    for host in ("example.org", "other")
    for headers in (
        (),
        ("x-a: alice", "x-a: bob"),
        ("x-a:", "x-b: b"),
        ("content-type: application/grpc", "x-a: \xe9b"),
        ("traceparent: 00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",),
    )
]


async def test_envoy_decides_as_these_tests_do(tmp_path: Path) -> None:
    """Each predicate over a sample of requests; a filter that marks the answer shows whether Envoy ran it."""

    def marking(name: str, sessions: Sequence[Session], proxy: Proxy) -> TypedExtensionConfig:
        if not sessions:
            return slot_resource(name, sessions, proxy)
        marks = LuaFilter(default_source_code=DataSource(inline_string=MARK))
        filter_: betterproto2.Message = guarded(superset(sessions[0].predicate), name, marks)
        return TypedExtensionConfig(name=name, typed_config=Packed.pack(filter_))

    chosen = random.Random(7)  # noqa: S311 - a sample, the same each time
    async with tapped(tmp_path, build=marking) as at:
        for number, text in enumerate(WANTED):
            wanted = session(f"tap-{number}", text, now_s=time.time())
            at.slot.set(wanted)
            assert await at.settled() == ""
            sample = chosen.sample(REQUESTS, 12)
            answers = await asyncio.gather(
                *(at.ask(f"{m} {path} HTTP/1.1", *headers, host=host) for m, path, host, headers in sample)
            )
            for (m, path, host, headers), answer in zip(sample, answers, strict=True):
                ran = b"x-marked: 1" in answer
                expected = holds(superset(wanted.predicate), _message(m, path, host, headers))
                assert ran is expected, (text, m, path, host, headers)


def _message(method: str, path: str, host: str, headers: Sequence[str]) -> Message:
    split = [line.partition(":") for line in headers]
    pairs: Any = [(name, value.strip().encode()) for name, _, value in split]
    pseudo = ((":method", method.encode()), (":path", path.encode()), (":authority", host.encode()))
    return Message((*pseudo, *pairs))


def test_a_session_on_headers_puts_a_matcher_into_the_slot_and_one_on_answers_does_not() -> None:
    types = [
        (resource.typed_config.type_url if resource.typed_config else "").rpartition(".")[2]
        for resource in (
            slot_resource("slot", [session(predicate=text)], Proxy(NODE))
            for text in ("path^=/orders", "status=5xx")
        )
    ]
    assert types == ["ExtensionWithMatcher", "Lua"]
    assert exchange().request is not None
