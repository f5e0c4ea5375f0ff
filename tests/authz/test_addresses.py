"""Which address is the client's, whatever it wrote into X-Forwarded-For itself."""

import pytest

from envoy_authz.core.addresses import client_address, parse_address


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "hops", "client"),
    [
        ("10.0.0.1", "203.0.113.7, 10.0.0.1", 1, "203.0.113.7"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.7, 10.0.0.1", 1, "203.0.113.7"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.7", 0, "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", 1, "10.0.0.1"),
        ("", "6.6.6.6, 203.0.113.7", 1, "203.0.113.7"),
    ],
)
def test_the_client_is_what_the_outermost_trusted_proxy_saw(
    peer: str, forwarded_for: str, hops: int, client: str
) -> None:
    assert client_address(peer, forwarded_for, hops) == client


@pytest.mark.parametrize(
    ("peer", "forwarded_for"),
    [("", "6.6.6.6, unknown"), ("/run/envoy.sock", "6.6.6.6, unknown"), ("10.0.0.1", "6.6.6.6, unknown")],
)
def test_an_entry_that_is_no_address_is_never_passed_over_for_the_clients_own(
    peer: str, forwarded_for: str
) -> None:
    assert parse_address(client_address(peer, forwarded_for, 1)) is None
