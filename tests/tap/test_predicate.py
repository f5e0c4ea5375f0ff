"""The predicate language reads back what it writes, and says where and how a text is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.predicate import MAX_CHARS, Condition, Expr, Field, Op, Or, PredicateError, parse, printed
from envoy_tap.core.predicate.parser import first_of
from tests.tap.predicates import combined, early_conditions, late_conditions

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
sendable = st.text(
    st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=40
)


@given(combined(early_conditions | late_conditions))
def test_what_is_written_reads_back(expr: Expr) -> None:
    text = printed(expr)
    assert parse(text) == expr
    assert printed(parse(text)) == text


@given(sendable, texts)
def test_any_text_reads_back(header: str, body: str) -> None:
    expr = Or(
        (Condition(Field("header", "x-a"), Op.EQUALS, header), Condition(Field("body"), Op.CONTAINS, body))
    )
    assert parse(printed(expr)) == expr


@given(st.text(max_size=80) | st.text("pathmeod[]()'\"=!<>~and or not*^\\ \n1%", max_size=80))
def test_any_text_is_read_or_refused_with_a_position_inside_it(text: str) -> None:
    found = read(text)
    if isinstance(found, PredicateError):
        lines = text.split("\n")
        assert 1 <= found.line <= len(lines)
        assert 1 <= found.column <= len(lines[found.line - 1]) + 1
        assert found.message
    else:
        assert parse(printed(found)) == found


def read(text: str) -> Expr | PredicateError:
    try:
        return parse(text)
    except PredicateError as error:
        return error


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("method==GET", 'method = "GET"'),
        ("(method=GET)", 'method = "GET"'),
        ("method!=GET", 'not method = "GET"'),
        ("not not method=GET", 'method = "GET"'),
        ("a.b", None),
        ("method=GET or method=PUT and path=/", 'method = "GET" or method = "PUT" and path = "/"'),
        ("(method=GET or method=PUT) and path=/", '(method = "GET" or method = "PUT") and path = "/"'),
        ("status=503 and (status=5xx and status>=500)", "status = 503 and status = 5xx and status >= 500"),
        ("latency>1500ms", "latency > 1500ms"),
        ("latency>2m", "latency > 120s"),
        ("grpc.status=14", "grpc.status = UNAVAILABLE"),
        ("source.address=10.1.2.3/8", "source.address = 10.0.0.0/8"),
        ("sample(0.5%) and first(10)", "sample(0.5%) and first(10)"),
        ("trace_id=A3CE929D0E0E4736", "trace_id = 0000000000000000a3ce929d0e0e4736"),
        ("request.json[a.b]=1.5", 'request.json["a.b"] = 1.5'),
        ("header['X-A'] exists", 'header["x-a"] exists'),
        ("not (method=GET and path=/)", 'not (method = "GET" and path = "/")'),
    ],
)
def test_the_canonical_form(text: str, canonical: str | None) -> None:
    if canonical is None:
        with pytest.raises(PredicateError):
            parse(text)
    else:
        assert printed(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "where", "said", "hint"),
    [
        ("", (1, 1), "a condition is missing", "known are method"),
        ("method=GET\nand\n  metod=PUT", (3, 3), "'metod' is not a field", "did you mean method?"),
        ("method = GET path=/", (1, 14), "not expected here", "combine conditions"),
        ("method > GET", (1, 8), "cannot be compared by >", "it takes = !="),
        ("path", (1, 5), "operator is missing", "it takes ="),
        ("path=orders", (1, 6), "not a path", "begins with /"),
        ("path=/a?b=c", (1, 6), "not a path", "without its query"),
        ("path like /a/**/b", (1, 11), "not a segment", "the last one may be **"),
        ("path~'('", (1, 6), "not a regular expression", "RE2"),
        ("path='/a", (1, 6), "has no end", "close it"),
        (r"path='/a\x'", (1, 9), "is no escape", "write a backslash"),
        ("status=600", (1, 8), "not a status", "5xx"),
        ("status>=5xx", (1, 9), "a class can only", "write >= 500"),
        ("latency>5", (1, 9), "not a duration", "250ms"),
        ("grpc.status=MAYBE", (1, 13), "not a gRPC status", "UNAVAILABLE"),
        ("grpc.method=/a.B/C", (1, 13), "not a gRPC method", "a.B/C"),
        ("source.address=here", (1, 16), "not an address", "10.0.0.0/8"),
        ("trace_id=xyz", (1, 10), "not a trace id", "32 hexadecimal"),
        ("header=x", (1, 7), "needs a header's name in brackets", "header[…]"),
        ("header[:path]=/", (1, 8), "not a header name", "fields of their own"),
        ("header[a b]=1", (1, 10), "closing bracket", ""),
        ("header[x]='a\\n'", (1, 11), "no header can hold", ""),
        ("request.json[a..b]=1", (1, 14), "not a path into JSON", "items[0]"),
        ("(method=GET", (1, 12), "closing parenthesis", ""),
        ("sample(0%)", (1, 8), "not a rate", "1%"),
        ("sample 1%", (1, 8), "in parentheses", "sample(…)"),
        ("first(0)", (1, 7), "not a count", "1 to"),
        ("not first(3)", (1, 5), "cannot stand here", "once"),
        ("first(3) and first(4)", (1, 14), "cannot stand here", "once"),
        ("first(3) or method=GET", (1, 1), "cannot stand here", "once"),
        ("method=GET AND path=/", (1, 12), "not expected here", "and, or, not"),
        ("header[x]=\ud800", (1, 11), "lone surrogate", ""),
        ("request.json[a]=1e400", (1, 17), "too large", "quotes"),
        ("(" * 40, (1, 33), "nested deeper", ""),
        (" or ".join(["method=A"] * 65), (1, 769), "more than 64", ""),
        ("a" * (MAX_CHARS + 1), (1, 1), "4096 characters at most", ""),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(
    text: str, where: tuple[int, int], said: str, hint: str
) -> None:
    with pytest.raises(PredicateError) as refused:
        parse(text)
    assert (said in refused.value.message, hint in refused.value.hint) == (True, True), str(refused.value)
    assert (refused.value.line, refused.value.column) == where


def test_first_is_found() -> None:
    assert first_of(parse("method=GET and first(5)")) == 5
    assert first_of(parse("first(5)")) == 5
    assert first_of(parse("method=GET or path=/")) is None
