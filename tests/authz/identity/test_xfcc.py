"""X-Forwarded-Client-Cert: quotes, commas and semicolons, and that no client can write itself an identity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.identity.xfcc import MAX_LENGTH, MAX_PARTS, XfccError, forwarded_identity, parse_xfcc

WEB = "spiffe://cluster.local/ns/shop/sa/web"
EVIL = "spiffe://cluster.local/ns/admin/sa/root"


def test_elements_and_pairs_are_taken_apart() -> None:
    first, second = parse_xfcc(
        f'By=spiffe://a/b;Hash=abc;Subject="CN=\\"x, y\\";z,O=,;";URI={WEB};DNS=a;DNS=b,By=spiffe://c/d;URI={EVIL}'
    )
    assert first.values("subject") == ('CN="x, y";z,O=,;',)
    assert first.values("uri") == (WEB,)
    assert first.values("dns") == ("a", "b")
    assert second.values("uri") == (EVIL,)


def test_only_as_many_elements_count_as_proxies_are_trusted() -> None:
    header = f"URI={EVIL},URI={WEB}"
    assert str(forwarded_identity(header, 1)) == WEB
    assert str(forwarded_identity(header, 2)) == EVIL
    for hops in (0, -1, 3):
        with pytest.raises(XfccError):
            forwarded_identity(header, hops)


@pytest.mark.parametrize(
    "client",
    [
        f"URI={EVIL}",
        f'Subject="CN=x";URI={EVIL}',
        f'Hash=a;URI="{EVIL}"',
        f"URI={EVIL},URI={EVIL}",
    ],
)
def test_spoofing_what_a_client_wrote_comes_before_what_the_proxy_adds(client: str) -> None:
    assert str(forwarded_identity(f'{client},By=x;Hash=h;Subject="CN=evil,URI={EVIL}";URI={WEB}', 1)) == WEB


@pytest.mark.parametrize(
    "header",
    [
        *(
            "",
            ",",
            ";",
            "URI",
            f'Subject="URI={WEB}',
            f'"URI={WEB}',
            f'URI={WEB}"',
            f'URI="{WEB}"x',
            'URI="\\',
        ),
        *(
            f"URI={WEB};URI={EVIL}",
            "URI=",
            "By=x",
            "URI=https://x/y",
            f"URI={WEB}/",
            f"U RI={WEB}",
            f"={WEB}",
        ),
        *(f"URI={WEB},", f"URI={WEB};", 'URI="', 'URI="\\"', "a" * (MAX_LENGTH + 1), f'URI="{WEB}""'),
        *(f"{'a=b;' * MAX_PARTS}a=b,URI={WEB}", f"{'a=b,' * (MAX_PARTS + 1)}URI={WEB}"),
    ],
)
def test_what_cannot_be_read_or_names_not_exactly_one_is_refused(header: str) -> None:
    with pytest.raises(XfccError):
        forwarded_identity(header, 1)


@given(st.text(), st.text(alphabet='=,;"\\ abURI'))
def test_nothing_makes_it_raise_anything_else(text: str, near: str) -> None:
    for header in (text, near):
        try:
            assert len(parse_xfcc(header)) > 0
        except XfccError as error:
            assert str(error)  # noqa: PT017 - either is right


@given(st.text(alphabet='=,;"\\ abURI:/'))
def test_whatever_the_client_sends_never_becomes_the_identity(client: str) -> None:
    try:
        assert str(forwarded_identity(f"{client},Hash=h;URI={WEB}", 1)) == WEB
    except XfccError as error:
        assert str(error)  # noqa: PT017 - either is right
