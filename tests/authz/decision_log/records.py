"""Records for the tests of the decision log."""

from envoy_authz.core.record import Record, Seen

DENIED = Record(
    1_800_000_000.125,
    "0123456789abcdef",
    allowed=False,
    policy="shop/no-exports",
    rule=1,
    reason="denied_by_policy",
    method="GET",
    path="/export;v=2?token=secret#frag=secret",
    host="shop.example",
    principal="spiffe://td/ns/shop/sa/web",
    address="203.0.113.7",
    tokens=("https://issuer/ann@shop.example",),
    reads=("request.path", "request.headers[x-team]"),
    attributes=(("request.headers[x-team]", ("blue", "ann@shop.example")),),
    observed=(Seen("shop/shadow", "deny", "dry_run"),),
)
ALLOWED = Record(1_800_000_000.0, "fedcba9876543210", True, "open", 0, "allowed_by_policy")
