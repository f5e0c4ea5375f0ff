"""What is secret is hidden, the same in the proxy as in the collector, and nothing else changes."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.redaction.patterns import luhn
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Redaction, Style
from tests.tap.building import exchange
from tests.tap.redacting import CARD, JWT, MASKED, RULES, json_body, lua_body, plain_body

HMAC = Redactor(Redaction(style=Style.HMAC), frozenset({"x-never"}), b"key")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("s3cr3t"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["password", "a", "Token", "order", "items", "pin"]), inner, max_size=3
        )
    ),
)


def parameters(pairs: Any) -> Any:
    return st.lists(pairs, min_size=1, max_size=4)


secret_values = st.text(st.sampled_from("aZ0/=?+%\"<>'{}[]();\\ \t\u00fc\u20ac"), max_size=6).map(
    lambda middle: f"s3{middle}cr3t"
)


@given(
    parameters(
        st.tuples(
            st.sampled_from(["password", "%70assword", "user[Token]", "gr%C3%B6%c3%9fe"]), secret_values
        )
    ),
    st.booleans(),
)
def test_whatever_a_parameter_holds_none_of_it_is_left(pairs: list[tuple[str, str]], is_form: bool) -> None:
    text = "&".join(f"{name}={value}" for name, value in pairs).encode()
    names = [name.encode() for name, _ in pairs]
    if is_form:
        found = MASKED.body(text, b"application/x-www-form-urlencoded")
        assert found == b"&".join(name + b"=[redacted]" for name in names)
    else:
        rules = Redactor(Redaction(query=RULES.names), frozenset(), b"")
        assert rules.header(":path", b"/a?" + text) == b"/a?" + b"&".join(
            name + b"=[redacted]" for name in names
        )


@pytest.mark.parametrize("name", ["größe", "Größe", "GRÖSSE", "GRÖßE", "straße", "😀", "a/b", 'a"b'])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_name_in_any_alphabet_is_found_however_json_writes_it(name: str, ascii_only: bool) -> None:
    redactor = Redactor(
        Redaction(names=frozenset({name.lower()}), paths=frozenset({"kunde.straße"})), frozenset(), b""
    )
    text = json.dumps({name: "s3cr3t", "kunde": {"straße": "s3cr3t"}}, ensure_ascii=ascii_only)
    assert b"s3cr3t" not in redactor.body(text.encode(), b"application/json")


def without(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if path and str(path[-1]).lower() in RULES.names:
        return "[redacted]"
    if len(path) == 4 and path[:2] == ("order", "items") and path[3] == "pin":
        return "[redacted]"
    if path == (0, "x"):
        return "[redacted]"
    if isinstance(value, dict):
        return {key: without(inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [without(inner, (*path, place)) for place, inner in enumerate(value)]
    return value


@given(json_values, st.sampled_from([None, 2]))
def test_json_keeps_its_form(value: Any, indent: int | None) -> None:
    plain = Redactor(Redaction(paths=RULES.paths, patterns=frozenset()), frozenset(), b"")
    body = plain.body(json.dumps(value, indent=indent).encode(), b"application/json")
    assert json.loads(body) == without(value)


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [
        ('{"password": "a", "b": 1}', '{"password": "[redacted]", "b": 1}'),
        ('{"Token": {"a": [1, 2]}, "b": 1}', '{"Token": "[redacted]", "b": 1}'),
        ('{"pass\\u0077ord": 1}', '{"pass\\u0077ord": "[redacted]"}'),
        (
            '{"order": {"items": [{"pin": 1}, {"pin": 2}]}}',
            '{"order": {"items": [{"pin": "[redacted]"}, {"pin": "[redacted]"}]}}',
        ),
        ('{"a": 1}\n{"secret": 2}\n', '{"a": 1}\n{"secret": "[redacted]"}\n'),
        ('{"a": 1, "secret": "half', '{"a": 1, "secret": "[redacted]"'),
        ('{"secret": {"half": [1, ', '{"secret": "[redacted]"'),
        ("for(;;); {secret: 1}", "for(;;); {[redacted]"),
        ('{"a": 1}}, "secret": 1', '{"a": 1}[redacted]'),
        ("[" * 70, "[" * 64 + "[redacted]"),
    ],
)
def test_json(given_: str, hidden: str) -> None:
    assert json_body(given_) == hidden


def test_what_only_looks_like_json_is_let_through_where_it_is_not() -> None:
    assert plain_body("[INFO] all is well}") == "[INFO] all is well}"
    assert plain_body('{"password": 1}') == '{"password": "[redacted]"}'


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [
        (f"a {CARD} b", "a [redacted] b"),
        ("4111 1111-1111+1111, 2025", "[redacted], 2025"),
        ("4111 1111 1111 1111 12 2025", "[redacted] 12 2025"),
        ("4111111111111112", "4111111111111112"),
        (f"x{CARD}", f"x{CARD}"),
        ("pan=4111%201111%201111%201111&a", "pan=[redacted]&a"),
        ("a%204111%2D1111%2b1111%C2%A01111%0A", "a%20[redacted]%0A"),
        (f"pan%3D{CARD}", "pan%3D[redacted]"),
        (f'"card:\\n{CARD}\\u00a0"', '"card:\\n[redacted]\\u00a0"'),
        ('"\\u003d4111\\u00a01111\\u00a01111\\u00a01111"', '"\\u003d[redacted]"'),
        ("4111\xa01111\xa01111\xa01111", "[redacted]"),
        (f"{CARD}0", f"{CARD}0"),
        ("1732351914000", "1732351914000"),
        ("mail <a.b+c@mail.example.org>.", "mail <[redacted]>."),
        ("a%40example.org&b", "[redacted]&b"),
        ("@example.org a@b", "@example.org a@b"),
        ('"Hi\\nbob\\u002bx@example.org"', '"Hi\\n[redacted]"'),
        ('"\\u003cbob@example.org\\u003e"', '"\\u003c[redacted]\\u003e"'),
        ("https://bob:p!w@host/a", "https://[redacted]@host/a"),
        ('"postgres:\\/\\/bob:p@w@db:1\\/x"', '"postgres:\\/\\/[redacted]@db:1\\/x"'),
        ("https://host:80/@a", "https://host:80/@a"),
        (f"Bearer {JWT};", "Bearer [redacted];"),
        ("eyJ no", "eyJ no"),
    ],
)
def test_patterns(given_: str, hidden: str) -> None:
    assert plain_body(given_) == hidden
    assert MASKED.header("x-a", given_.encode()).decode() == hidden


@pytest.mark.parametrize("tail", ["4111 1111 11", "4111%201111%201111", JWT[:20], "bob@exam", CARD])
def test_what_the_end_of_a_capture_cuts_in_two_is_hidden(tail: str) -> None:
    assert plain_body(f"so {tail}", cut=True) == "so [redacted]"


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [
        ("/a?token=s&b=2", "/a?token=[redacted]&b=2"),
        ("/a?b=2&%74oken=s#f", "/a?b=2&%74oken=[redacted]#f"),
        ('/q?password=ab"cd<e> f&b=2', "/q?password=[redacted]&b=2"),
        ("/q?a=1;password=ab/cd?e&b=2", "/q?a=1;password=[redacted]&b=2"),
        ("/a;token=s/b;c=1?b=2", "/a;token=[redacted]/b;c=1?b=2"),
        ("/a?next=/cb?code=s", "/a?next=/cb?code=[redacted]"),
        (
            "/a?next=https%3A%2F%2Fb%2F%3fcode%3Ds%26c%3D1&d=1",
            "/a?next=https%3A%2F%2Fb%2F%3fcode%3D[redacted]&d=1",
        ),
        ("/a?token", "/a?token"),
        ("https://a/cb#access_token=s&state=1", "https://a/cb#access_token=[redacted]&state=1"),
        (
            "/a?user[password]=s&o.token=s&x%5Bcvc%5D%5B%5D=1",
            "/a?user[password]=[redacted]&o.token=[redacted]&x%5Bcvc%5D%5B%5D=[redacted]",
        ),
        ("token=s&b=2", "token=[redacted]&b=2"),
    ],
)
def test_query_parameters(given_: str, hidden: str) -> None:
    assert MASKED.header(":path", given_.encode()).decode() == hidden


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [
        ('<https://a/?sig=s>; rel="next"', '<https://a/?sig=[redacted]>; rel="next"'),
        ('{"u": "/?a=1\\u0026token=s\\"t"}', '{"u": "/?a=1\\u0026token=[redacted]"}'),
        ('{"u": "/?token\\u003ds\\\\", "b": 1}', '{"u": "/?token\\u003d[redacted]", "b": 1}'),
        ('<a href="/?a=1&amp;token=s">', '<a href="/?a=1&amp;token=[redacted]">'),
    ],
)
def test_urls_in_texts(given_: str, hidden: str) -> None:
    assert plain_body(given_) == hidden
    assert MASKED.header("x-a", given_.encode()).decode() == hidden


def test_a_value_that_the_cut_takes_from_its_host_is_hidden() -> None:
    assert plain_body("x https://bob:pass", cut=True) == "x https://[redacted]"


def test_forms() -> None:
    form = b"user=bob&password=s3%26cr3t&pass%77ord=x&n"
    hidden = MASKED.body(form, b"application/x-www-form-urlencoded")
    assert hidden == b"user=bob&password=[redacted]&pass%77ord=[redacted]&n"
    parts = b'--b\r\ncontent-disposition: form-data; name="password"\r\n\r\ns3\r\ncr3t\r\n--b\r\nx; name=a\r\n\r\n1\r\n--b--'
    assert MASKED.body(parts, b"multipart/form-data; boundary=b") == parts.replace(
        b"s3\r\ncr3t", b"[redacted]"
    )


@pytest.mark.parametrize(
    ("content_type", "given_"),
    [
        ("application/x-www-form-urlencoded", '{"password": %s}'),
        ("application/x-www-form-urlencoded", "user[password]=%s&user%%5Btoken%%5D=%s&pin=1"),
        ("text/plain", "password=%s&user=bob"),
        ("text/plain", '\ufeff{"password": %s}'),
        ("application/json", '{"accessToken": %s, "clientSecret": %s, "newPassword": %s}'),
        (
            "multipart/form-data",
            '--b\r\nContent-Disposition: form-data; Name = "password"\r\n\r\n%s\r\n--b--',
        ),
        ("multipart/form-data", '--b\ncontent-disposition: form-data; name="user[password]"\n\n%s\n--b--'),
        (
            "multipart/related",
            '--b\r\ncontent-type: application/json\r\n\r\n{"token": %s}\r\n--b\r\n\r\n[{"token": %s}]\r\n--b--',
        ),
        (
            "multipart/mixed",
            '--b\r\n\r\n \n\t{"token": %s}\r\n--b\r\n\r\n\r\n\r\n--b\r\n\r\n\ufeff[{"token": %s}]\r\n--b--',
        ),
    ],
)
def test_a_secret_is_found_however_clients_write_it(content_type: str, given_: str) -> None:
    secret, mask = ('"s3cr3t"', '"[redacted]"') if "{" in given_ else ("s3cr3t", "[redacted]")
    count = given_.count("%s")
    body = (given_ % ((secret,) * count)).encode()
    hidden = (given_ % ((mask,) * count)).encode()
    assert MASKED.body(body, content_type.encode()) == hidden
    assert lua_body(body, content_type.encode(), cut=False) == hidden


def test_equal_secrets_have_equal_placeholders_and_no_others_do() -> None:
    def placeholder(value: bytes, key: bytes = b"key") -> bytes:
        return Redactor(Redaction(style=Style.HMAC), frozenset(), key).header("authorization", value)

    assert placeholder(b"a") == placeholder(b"a") != placeholder(b"b")
    assert placeholder(b"a") != placeholder(b"a", b"other key")
    assert placeholder(placeholder(b"a")) == placeholder(b"a")
    assert HMAC.body(b'{"password": "a"}', b"application/json") == b'{"password": "%s"}' % placeholder(b"a")
    assert HMAC.header("x-never", b"a") == b"[redacted]"


def test_a_compressed_body_is_opened_or_withheld() -> None:
    packed = zlib.compress(b'{"password": "s3cr3t"}', wbits=31)
    headers = (("content-type", b"application/json"), ("content-encoding", b"gzip"))
    assert MASKED.message(Message(headers, packed)).body == b'{"password": "[redacted]"}'
    assert MASKED.message(Message(headers, packed[:-9]), cut=True).body.startswith(b'{"password": "[red')
    for coding, pack in ((b"br", brotli.compress), (b"zstd", zstandard.compress), (b"br, gzip", _twice)):
        headers = (("content-type", b"application/json"), ("content-encoding", coding))
        assert (
            MASKED.message(Message(headers, pack(b'{"password": "s3cr3t"}'))).body
            == b'{"password": "[redacted]"}'
        )
    for encoding in (b"br", b"zstd", b"compress", b"gzip, gzip", b"br, br, gzip"):
        withheld = MASKED.message(Message((("content-encoding", encoding),), b"opaque"))
        assert withheld.body == b"[redacted: a body in content-encoding %s cannot be looked into]" % encoding


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "br, gzip"])
def test_no_more_of_a_compressed_body_is_opened_than_was_asked_for(coding: str) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstandard.compress,
        "br, gzip": _twice,
    }
    redactor = Redactor(Redaction(), frozenset(), b"key", most_opened_bytes=1000)

    def seen(body: bytes) -> Exchange:
        headers = (("content-encoding", coding.encode()),)
        return redactor.redacted(exchange(response=Message(headers, packers[coding](body))))

    bomb, whole = seen(b"x" * 5_000_000), seen(b"x" * 999)
    assert bomb.response is not None
    assert whole.response is not None
    assert (len(bomb.response.body), bomb.truncated) == (1000, True)
    assert (len(whole.response.body), whole.truncated) == (999, False)
    # What is cut in two there is a secret as at the end of any capture.
    cut = seen(b"x" * 990 + b" 4111111111111111")
    assert cut.response is not None
    assert cut.response.body.endswith(b" [redacted]")


def test_a_compressed_body_that_came_in_part_is_truncated() -> None:
    packed = zlib.compress(b'{"a": "b"}', wbits=31)[:-9]
    found = MASKED.redacted(exchange(response=Message((("content-encoding", b"gzip"),), packed)))
    assert found.truncated


def _twice(body: bytes) -> bytes:
    return zlib.compress(brotli.compress(body), wbits=31)


def test_trailers_are_redacted_too() -> None:
    found = MASKED.redacted(exchange(Message((), b"", (("x-never", b"s"), ("x-a", CARD.encode())))))
    assert found.request is not None
    assert found.request.trailers == (("x-never", b"[redacted]"), ("x-a", b"[redacted]"))


def test_luhn() -> None:
    assert [luhn(number) for number in (b"4111111111111111", b"79927398713", b"79927398710")] == [
        True,
        True,
        False,
    ]
