"""Random predicates, and exchanges that have a chance to fulfil them."""

from hypothesis import strategies as st

from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.predicate import Condition, Expr, Field, Op, all_of, any_of, none_of
from tests.tap.building import NODE

METHODS = ["GET", "POST", "M-SEARCH"]
PATHS = [
    "/",
    "/orders",
    "/orders/1",
    "/orders/1/items",
    "/orders/",
    "/a.b/%C3%A9",
    "/p.S/M",
    "/[redacted]",
    "/u/bob@example.com",
]
TEMPLATES = ["/orders/{id}", "/orders/*/items", "/orders/**", "/**", "/*", "/a.b/*", "/orders"]
AUTHORITIES = ["example.org", "EXAMPLE.org", "[::1]:80"]
AUTHORITY_REGEXES = [r"Example\.ORG", "(?-i)example.org", "[A-Z]+.org|x", r"\[::1\]:\d+"]
NAMES = ["x-a", "content-type", "x-b", "authorization"]
VALUES = [
    "Bearer abc",
    "application/json",
    "id bob@example.com",
    "alice",
    "é",
    'a"b\\',
    "",
    "application/grpc+proto",
    "[redacted]",
    "@CLUSTER@ ]]",
]
NETWORKS = ["10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "2001:db8::/32", "::1"]
PEERS = ["10.1.2.3:80", "11.0.0.1:1", "[2001:db8::1]:443", "pipe"]
PRINCIPALS = ["spiffe://a/b", "CN=x"]
TRACES = ["4bf92f3577b34da6a3ce929d0e0e4736", "0" * 16 + "a3ce929d0e0e4736"]
REGEXES = ["[a-z/]+", ".*1", "(?i)ALICE|bob", "Bearer .*", "[^@]*", "/u/.*"]
JSON_PATHS = ["a", "a.b[0]", "[*].c", "a.*", "password", "password.x", "*"]
BODIES = [b"", b"needle", b'{"a": {"b": [1, "x", true]}}', b'[{"c": null}, {"c": 1.5}]', b"\xff"]
BODIES += [b'{"a": 1, "password": "hunter2"}', b'{"password": {"x": 1}, "a": "to bob@example.com"}']
BODIES += [b'{"password": hunter2, "bob@example.com": 1}', b"needle for bob@example.com"]


def _one(
    name: str, ops: list[Op], values: list[str], keys: list[str | None] | None = None
) -> st.SearchStrategy[Expr]:
    filled = [value for value in values if value]
    return st.builds(
        lambda op, value, key: Condition(Field(name, key), op, value),
        st.sampled_from(ops),
        st.sampled_from(filled),
        st.sampled_from(keys or [None]),
    )


_PLAIN = [Op.EQUALS, Op.BEGINS, Op.CONTAINS]
_ORDER = [Op.EQUALS, Op.BELOW, Op.AT_MOST, Op.ABOVE, Op.AT_LEAST]
summary_conditions: st.SearchStrategy[Expr] = st.one_of(
    _one("method", [Op.EQUALS], METHODS),
    _one("path", [*_PLAIN, Op.MATCHES], [*PATHS, "[a-z/]+"]),
    _one("authority", _PLAIN, AUTHORITIES),
    st.builds(
        lambda op, value: Condition(Field("status"), op, value),
        st.sampled_from(_ORDER),
        st.sampled_from([100, 404, 500, 599]),
    ),
    st.just(Condition(Field("status"), Op.EQUALS, "5xx")),
)
early_conditions: st.SearchStrategy[Expr] = st.one_of(
    _one("method", [Op.EQUALS], METHODS),
    _one("path", _PLAIN, PATHS),
    _one("path", [Op.LIKE], TEMPLATES),
    _one("authority", _PLAIN, AUTHORITIES),
    _one("header", _PLAIN, VALUES, [*NAMES]),
    _one("header", _PLAIN, AUTHORITIES, ["host"]),
    st.builds(lambda key: Condition(Field("header", key), Op.EXISTS), st.sampled_from([*NAMES, "host"])),
    _one("grpc.method", _PLAIN, ["p.S/M", "p.S/"]),
    _one("source.principal", _PLAIN, PRINCIPALS),
    _one("source.address", [Op.EQUALS], [each for each in NETWORKS if ":" not in each]),
    _one("trace_id", [Op.EQUALS], [each.zfill(32) for each in TRACES]),
    st.builds(lambda ppm: Condition(Field("sample"), Op.EQUALS, ppm), st.integers(1, 1_000_000)),
)
late_conditions: st.SearchStrategy[Expr] = st.one_of(
    _one("path", [Op.MATCHES], REGEXES),
    _one("authority", [Op.MATCHES], AUTHORITY_REGEXES),
    _one("header", [Op.MATCHES], REGEXES, [*NAMES]),
    _one("header", [Op.MATCHES], AUTHORITY_REGEXES, ["host"]),
    _one("source.address", [Op.EQUALS], [each for each in NETWORKS if ":" in each]),
    _one("response.header", _PLAIN, VALUES, [*NAMES]),
    _one("body", [Op.CONTAINS], ["needle", "é", "\\", "hunter2", "bob@", '"password": ']),
    st.builds(
        lambda op, value: Condition(Field("status"), op, value),
        st.sampled_from(_ORDER),
        st.integers(100, 599),
    ),
    st.just(Condition(Field("status"), Op.EQUALS, "5xx")),
    st.builds(lambda code: Condition(Field("grpc.status"), Op.EQUALS, code), st.integers(0, 16)),
    st.builds(
        lambda op, us: Condition(Field("latency"), op, us), st.sampled_from(_ORDER[1:]), st.integers(0, 10**9)
    ),
    st.builds(
        lambda path, value: Condition(Field("request.json", path), Op.EQUALS, value),
        st.sampled_from(JSON_PATHS),
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1e6, 1e6) | st.sampled_from(VALUES),
    ),
    _one("request.json", [*_PLAIN, Op.MATCHES], ["hunter2", "to .*", "to ", "x"], [*JSON_PATHS]),
    st.builds(lambda path: Condition(Field("response.json", path), Op.EXISTS), st.sampled_from(JSON_PATHS)),
)


def combined(conditions: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.recursive(
        conditions | st.just(all_of()),
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: all_of(*terms)),
            st.lists(inner, min_size=2, max_size=3).map(lambda terms: any_of(*terms)),
            inner.map(none_of),
        ),
        max_leaves=8,
    )


_trace_headers = st.sampled_from(
    [
        ("traceparent", b"00-" + TRACES[0].encode() + b"-00f067aa0ba902b7-01"),
        ("x-b3-traceid", b"A3CE929D0E0E4736"),
        ("b3", b"a3ce929d0e0e4736-1-1"),
        ("traceparent", b"garbage"),
        ("x-b3-traceid", b"a3ce"),
        ("x-request-id", b"3fa85f64-5717-4562-b3fc-2c963f66afa6"),
        ("x-request-id", b"short"),
        ("x-request-id", b"\xff any text that is longer than that"),
        ("x-request-id", b""),
    ]
)
_header = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES).map(str.encode) | st.binary(max_size=4))


@st.composite
def requests(draw: st.DrawFn) -> Message:
    """A request as the proxy sees it; a header that is there twice is joined, as its Lua does."""
    pseudo = {
        ":method": st.sampled_from(METHODS),
        ":path": st.builds(str.__add__, st.sampled_from([*PATHS, "*"]), st.sampled_from(["", "?q=/orders"])),
        ":authority": st.sampled_from(AUTHORITIES),
    }
    headers = [(name, draw(value).encode()) for name, value in pseudo.items() if draw(st.integers(0, 9))]
    headers += draw(st.lists(_header, max_size=3))
    headers += draw(st.lists(_trace_headers, max_size=2, unique_by=lambda pair: pair[0]))
    return Message(tuple(headers), draw(st.sampled_from(BODIES)))


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    response = Message(
        ((":status", str(draw(st.integers(100, 599))).encode()), *draw(st.lists(_header, max_size=2))),
        draw(st.sampled_from(BODIES)),
        tuple(draw(st.lists(st.just(("grpc-status", b"14")), max_size=1))),
    )
    return Exchange(
        "tap-1",
        NODE,
        draw(st.integers(0, (1 << 52) - 1)),
        draw(requests()),
        draw(st.none() | st.just(response)),
        started_s=1.0,
        finished_s=draw(st.floats(1.0, 1000.0)),
        incomplete=draw(st.booleans()),
        source_address=draw(st.sampled_from([*PEERS, ""])),
        source_principal=draw(st.sampled_from([*PRINCIPALS, ""])),
    )
