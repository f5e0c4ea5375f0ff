"""Tests of request headers as an xDS matcher in front of a filter; imports `envoy-data-plane`.

Envoy evaluates it in C++ and skips the filter for a whole request, and its response, where it can't match: an untargeted
request then costs no Lua at all (envoy.extensions.common.matching.v3.ExtensionWithMatcher).
"""

from functools import lru_cache

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig as EnvoyExtension
from envoy_data_plane.envoy.extensions.common.matching.v3 import ExtensionWithMatcher
from envoy_data_plane.envoy.extensions.filters.common.matcher.action.v3 import SkipFilter
from envoy_data_plane.envoy.type.matcher.v3 import HttpRequestHeaderMatchInput
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicatePredicateList,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    RegexMatcher,
    RegexMatcherGoogleRe2,
    StringMatcher,
)

from envoy_tap.core.predicate.headers import ANYTHING, AllOf, AnyOf, HeaderTest, How, NoneOf, Tests

_ANY_BYTES = r"\C*"
_NO_HEADER = HeaderTest(":no-such-header", How.PRESENT)


def guarded(tests: Tests, name: str, filter_: betterproto2.Message) -> betterproto2.Message:
    """Return *filter_* so that it runs only for requests that fulfil *tests*; as it is, if they all do."""
    if tests == ANYTHING:
        return filter_
    return ExtensionWithMatcher(
        xds_matcher=_skipping(tests),
        extension_config=EnvoyExtension(name=name, typed_config=Any.pack(filter_)),
    )


@lru_cache(maxsize=64)
def _skipping(tests: Tests) -> Matcher:
    """Return what skips all that does not fulfil *tests*; made once for all proxies."""
    return Matcher(
        matcher_list=MatcherMatcherList(
            matchers=[
                MatcherMatcherListFieldMatcher(
                    predicate=MatcherMatcherListPredicate(not_matcher=_predicate(tests)),
                    on_match=MatcherOnMatch(
                        action=TypedExtensionConfig(name="skip", typed_config=Any.pack(SkipFilter()))
                    ),
                )
            ]
        )
    )


def _predicate(tests: Tests) -> MatcherMatcherListPredicate:
    match tests:
        case HeaderTest():
            return _single(tests)
        case NoneOf(term):
            return MatcherMatcherListPredicate(not_matcher=_predicate(term))
        case AllOf(()):
            return MatcherMatcherListPredicate(not_matcher=_single(_NO_HEADER))
        case AnyOf(()):
            return _single(_NO_HEADER)
        case AllOf(terms):
            return MatcherMatcherListPredicate(and_matcher=_list(terms))
        case AnyOf(terms):
            return MatcherMatcherListPredicate(or_matcher=_list(terms))


def _list(terms: tuple[Tests, ...]) -> MatcherMatcherListPredicatePredicateList:
    return MatcherMatcherListPredicatePredicateList(predicate=[_predicate(term) for term in terms])


def _single(test: HeaderTest) -> MatcherMatcherListPredicate:
    asked = HttpRequestHeaderMatchInput(header_name=test.name)
    return MatcherMatcherListPredicate(
        single_predicate=MatcherMatcherListPredicateSinglePredicate(
            input=TypedExtensionConfig(name="header", typed_config=Any.pack(asked)),
            value_match=_string(test),
        )
    )


def _string(test: HeaderTest) -> StringMatcher:
    match test.how:
        case How.EXACT:
            return StringMatcher(exact=test.text, ignore_case=test.ignores_case)
        case How.PREFIX:
            return StringMatcher(prefix=test.text, ignore_case=test.ignores_case)
        case How.CONTAINS:
            return StringMatcher(contains=test.text, ignore_case=test.ignores_case)
        case How.REGEX:
            return _regex(test.text)
        case How.PRESENT:
            return _regex(_ANY_BYTES)


def _regex(text: str) -> StringMatcher:
    # Envoy refuses a safe_regex here that does not name its engine.
    return StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcherGoogleRe2(), regex=text))
