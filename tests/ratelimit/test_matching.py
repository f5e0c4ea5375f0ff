"""Which rule a descriptor finds: the reference's semantics."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.core.matching import fits, match
from envoy_ratelimit.core.rule import MAX_KEY_CHARACTERS, Entry, Rate, Rule, Unit
from envoy_ratelimit.core.rules import Descriptor, Domain, Limit, compile_rules

LIMIT = Limit(Rate(1, Unit.SECOND))


def found(descriptors: tuple[Descriptor, ...], *entries: Entry) -> str | None:
    rule = match(compile_rules([Domain("d", descriptors)]).domains["d"], entries)
    return rule.path if rule else None


def limited(key: str, value: str = "", *below: Descriptor) -> Descriptor:
    return Descriptor(key, value, LIMIT, descriptors=below)


def listed(key: str, value: str = "", *below: Descriptor) -> Descriptor:
    return Descriptor(key, value, descriptors=below)


EVERY_KIND = (
    limited("path"),
    limited("path", "/a*"),
    limited("path", "/a/b*"),
    limited("path", "*"),
    limited("path", "/a/b"),
)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("/a/b", "path_/a/b"),
        ("/a/b/c", "path_/a*"),
        ("/a", "path_/a*"),
        ("/z", "path_*"),
        ("", "path_*"),
        ("/a/b*", "path_/a/b*"),
    ],
)
def test_exact_goes_before_patterns_in_file_order_and_these_before_the_bare_key(
    value: str, path: str
) -> None:
    assert found(EVERY_KIND, ("path", value)) == path


def test_the_bare_key_takes_every_value_that_nothing_else_does() -> None:
    descriptors = (limited("user"), limited("user", "vip"))
    assert found(descriptors, ("user", "anybody")) == "user"
    assert found(descriptors, ("user", "")) == "user"
    assert found(descriptors, ("other", "vip")) is None


def test_levels_are_gone_down_entry_by_entry() -> None:
    descriptors = (limited("a", "1", limited("b", "", limited("c", "x*"))),)
    assert found(descriptors, ("a", "1")) == "a_1"
    assert found(descriptors, ("a", "1"), ("b", "any")) == "a_1.b"
    assert found(descriptors, ("a", "1"), ("b", "any"), ("c", "xyz")) == "a_1.b.c_x*"


def test_a_limit_of_a_parent_is_not_inherited_and_a_shorter_rule_no_fall_back() -> None:
    descriptors = (limited("a", "", listed("b")),)
    assert found(descriptors, ("a", "1"), ("b", "1")) is None
    assert found(descriptors, ("a", "1"), ("c", "1")) is None
    assert found(descriptors, ("a", "1"), ("b", "1"), ("c", "1")) is None


def test_a_node_without_a_limit_has_none_itself() -> None:
    assert found((listed("a", "", limited("b")),), ("a", "1")) is None


def test_what_was_chosen_on_a_level_stays_chosen() -> None:
    descriptors = (listed("a", "1", limited("x")), limited("a", "", limited("b")))
    assert found(descriptors, ("a", "2"), ("b", "1")) == "a.b"
    assert found(descriptors, ("a", "1"), ("b", "1")) is None


def test_a_descriptor_without_entries_finds_nothing() -> None:
    assert found((limited("a"),)) is None


@given(pattern=st.text("ab*", max_size=12), value=st.text("ab", max_size=16))
def test_a_star_stands_for_any_characters_at_any_place(pattern: str, value: str) -> None:
    if "*" in pattern:
        assert fits(tuple(pattern.split("*")), value) == fnmatchcase(value, pattern)


def test_the_ends_of_a_pattern_do_not_overlap() -> None:
    assert not fits(("ab", "ba"), "aba")
    assert fits(("ab", "ba"), "abba")


@pytest.mark.parametrize(
    "domains",
    [
        [Domain("d"), Domain("d")],
        [Domain("d", (Descriptor("a"), Descriptor("a")))],
        [Domain("d", (Descriptor("x", "", None, descriptors=(Descriptor("a", "1"), Descriptor("a", "1"))),))],
    ],
)
def test_what_comes_twice_is_refused(domains: list[Domain]) -> None:
    with pytest.raises(ValueError, match="comes twice"):
        compile_rules(domains)


def rule_for(descriptors: tuple[Descriptor, ...], entries: tuple[Entry, ...], domain: str = "d") -> Rule:
    rule = match(compile_rules([Domain(domain, descriptors)]).domains[domain], entries)
    assert rule is not None
    return rule


TEXT = st.text("ab:|=1*?", max_size=5)


@given(
    one=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
    other=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
)
def test_different_values_have_different_buckets(one: list[Entry], other: list[Entry]) -> None:
    def key(entries: list[Entry]) -> str:
        descriptors: tuple[Descriptor, ...] = ()
        for name, _ in reversed(entries):
            descriptors = (limited(name, "", *descriptors),)
        return rule_for(descriptors, tuple(entries)).bucket_key(entries)

    assert (key(one) == key(other)) == (one == other)


def test_a_bucket_is_of_its_domain_its_rule_and_its_rate() -> None:
    entries = (("k", "v"),)
    other_rate = Descriptor("k", "", Limit(Rate(2, Unit.SECOND)))
    keys = {
        rule_for((limited("k"),), entries).bucket_key(entries),
        rule_for((limited("k"),), entries, "other").bucket_key(entries),
        rule_for((limited("k", "v"),), entries).bucket_key(entries),
        rule_for((limited("k", "v*"),), entries).bucket_key(entries),
        rule_for((other_rate,), entries).bucket_key(entries),
    }
    assert len(keys) == 5


def test_a_long_value_gives_a_key_of_bounded_length() -> None:
    keys = {
        rule_for((limited("k"),), entries).bucket_key(entries)
        for entries in ((("k", "v" * 10_000),), (("k", "v" * 9_999 + "w"),), (("k", "\ud800" * 300),))
    }
    assert len(keys) == 3
    assert all(len(key) <= MAX_KEY_CHARACTERS for key in keys)


def test_rules_describe_themselves_in_the_order_they_were_written() -> None:
    rules = compile_rules(
        [
            Domain(
                "d",
                (
                    Descriptor("a", "", Limit(Rate(5, Unit.MINUTE), "five"), shadow_mode=True),
                    Descriptor("b", "x", Limit(None)),
                ),
            )
        ]
    )
    assert rules.describe() == [
        {"domain": "d", "path": "a", "name": "five", "limit": "5/MINUTE", "shadow_mode": True},
        {"domain": "d", "path": "b_x", "name": "", "limit": "unlimited", "shadow_mode": False},
    ]
