"""Explaining a look-up: it ends where the matching ends, and says why the others do not hold."""

from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.commands.walk import walk
from envoy_ratelimit.config.inline import load_text
from envoy_ratelimit.core.matching import match
from envoy_ratelimit.core.rule import Rate, Unit
from envoy_ratelimit.core.rules import Descriptor, Domain, Limit, compile_rules

LIMITS = """
domain: edge
descriptors:
  - key: path
    value: /api/*
    rate_limit: { unit: second, requests_per_unit: 1 }
  - key: path
    value: /api/login
    descriptors:
      - key: user
        rate_limit: { unit: second, requests_per_unit: 1 }
  - key: path
    value: /*
    rate_limit: { unit: second, requests_per_unit: 2 }
  - key: path
    rate_limit: { unit: second, requests_per_unit: 3 }
  - key: path
    value: /other
"""
ROOT = load_text(LIMITS).rules.domains["edge"]


def said(*entries: tuple[str, str]) -> tuple[list[tuple[str, bool, str]], str]:
    way = walk(ROOT, entries)
    candidates = [
        (candidate.written, candidate.taken, candidate.why)
        for step in way.steps
        for candidate in step.candidates
    ]
    return candidates, way.conclusion


def test_the_taken_one_comes_first_and_the_others_say_why_not() -> None:
    candidates, conclusion = said(("path", "/api/users"))
    assert candidates == [
        ("path=/api/*", True, "the pattern fits"),
        ("path=/*", False, "another one went before it"),
        ("path", False, "another one went before it"),
        ("path=/api/login", False, "the value is '/api/users'"),
        ("path=/other", False, "the value is '/api/users'"),
    ]
    assert conclusion == "the limit of 'path_/api/*' applies"


def test_the_end_is_explained() -> None:
    assert said(("user", "ann")) == ([], "entry 1 matches nothing on its level: no limit applies")
    assert said(("path", "/api/login"))[1].startswith(
        "the last entry has no rate_limit, only those below it;"
    )
    assert said(("path", "/other"))[1].startswith("the last entry has no rate_limit; limits above")
    assert said(("path", "/api/login"), ("user", "ann"))[1] == "the limit of 'path_/api/login.user' applies"
    assert (
        said(("path", "/x"), ("user", "ann"))[1] == "entry 2 matches nothing on its level: no limit applies"
    )


def test_what_is_too_much_is_counted() -> None:
    many = "".join(f"  - {{ key: user, value: u{number} }}\n" for number in range(50))
    way = walk(load_text(f"domain: d\ndescriptors:\n{many}").rules.domains["d"], [("user", "nobody")])
    (step,) = way.steps
    assert (len(step.candidates), step.left_out) == (20, 30)


names = st.sampled_from(["a", "b"])
values = st.sampled_from(["", "x", "xy", "x*", "*y", "*", "x*y"])
limits = st.none() | st.just(Limit(Rate(1, Unit.DAY)))


def descriptors(
    children: st.SearchStrategy[tuple[Descriptor, ...]],
) -> st.SearchStrategy[tuple[Descriptor, ...]]:
    each = st.builds(Descriptor, key=names, value=values, limit=limits, descriptors=children)
    return st.lists(each, max_size=5, unique_by=lambda one: (one.key, one.value)).map(tuple)


trees = st.recursive(st.just(()), descriptors, max_leaves=12)
entries = st.lists(st.tuples(names, st.sampled_from(["", "x", "xy", "zy", "x*"])), min_size=1, max_size=3)


@given(trees, entries)
def test_it_ends_where_the_matching_ends(tree: tuple[Descriptor, ...], asked: list[tuple[str, str]]) -> None:
    root = compile_rules([Domain("d", tree)]).domains["d"]
    way = walk(root, asked)
    assert way.rule is match(root, asked)
    assert all(sum(candidate.taken for candidate in step.candidates) <= 1 for step in way.steps)
