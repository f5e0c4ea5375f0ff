"""The one form of a path that policies compare, and what hostile forms become."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.core.paths import normalize

FORMS = [
    # received, compared
    ("/", "/"),
    ("/admin", "/admin"),
    ("/admin?x", "/admin"),
    ("/admin#x", "/admin"),
    ("/admin?a#b", "/admin"),
    ("/admin#a?b", "/admin"),
    ("/admin??", "/admin"),
    ("/?/admin", "/"),
    ("/admin/", "/admin/"),
    ("//admin", "//admin"),
    ("//admin/x?y", "//admin/x"),
    ("///", "///"),
    ("/./admin", "/admin"),
    ("/public/../admin", "/admin"),
    ("/public/%2e%2e/admin", "/admin"),
    ("/public/%2E./admin", "/admin"),
    ("/public\\..\\admin", "/admin"),
    ("\\admin", "/admin"),
    ("/../../admin", "/admin"),
    ("/a/b/..", "/a/"),
    ("/a/b/.", "/a/b/"),
    ("/..", "/"),
    ("/.", "/"),
    ("/a//../b", "/a/b"),
    ("/a/.../b", "/a/.../b"),
    ("/a/..b/.c", "/a/..b/.c"),
    ("/.well-known/x", "/.well-known/x"),
    ("/%61dmin", "/admin"),
    ("/%7Euser", "/~user"),
    ("/%2561dmin", "/%2561dmin"),
    ("/a%2Fb", "/a%2Fb"),
    ("/a%2fb", "/a%2Fb"),
    ("/a%5cb", "/a%5Cb"),
    ("/admin%3Fx", "/admin%3Fx"),
    ("/admin%23x", "/admin%23x"),
    ("/admin%00", "/admin%00"),
    ("/admin\x00", "/admin%00"),
    ("/admin\n", "/admin%0A"),
    ("/adm\tin", "/adm%09in"),
    ("/100%", "/100%25"),
    ("/%", "/%25"),
    ("/%4", "/%254"),
    ("/%zz", "/%25zz"),
    ("/%%32%65%%32%65/admin", "/%252e%252e/admin"),
    ("/;/admin", "/;/admin"),
    ("/straße", "/stra%C3%9Fe"),
    ("/\ud800", "/%ED%A0%80"),
    ("/a b", "/a%20b"),
    ('/"<>[]^`{|}\x7f', "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D%7F"),
    ("/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
    ("/%21%40", "/%21%40"),
    ("/\u212a", "/%E2%84%AA"),
    ("/%C3%9f", "/%C3%9F"),
    ("", ""),
    ("*", "*"),
    ("?x", ""),
    ("admin/../x", "admin/../x"),
    ("http://host/admin", "http://host/admin"),
]


@pytest.mark.parametrize(("received", "compared"), FORMS)
def test_a_path_is_compared_in_one_form(received: str, compared: str) -> None:
    assert normalize(received) == compared


SEGMENTS = st.sampled_from(
    ["", ".", "..", "%2e", "%2E%2e", "%252e", "%", "%%32%65", "a", "%61", "%2f", "\\", "\\.."]
)
PATHS = st.one_of(st.text(), st.lists(SEGMENTS).map(lambda parts: "/" + "/".join(parts)))


@given(PATHS)
def test_normalizing_never_raises_and_twice_is_once(path: str) -> None:
    assert normalize(normalize(path)) == normalize(path)


@given(PATHS, st.text())
def test_query_and_fragment_never_matter(path: str, tail: str) -> None:
    assert normalize(f"{path}?{tail}") == normalize(path)
    assert normalize(f"{path}#{tail}") == normalize(path)


@given(PATHS)
def test_no_dot_segment_backslash_or_query_remains(path: str) -> None:
    normal = normalize("/" + path)
    assert not {".", ".."} & set(normal.split("/"))
    assert not set("\\?#") & set(normal)
    assert normal.startswith("/")
