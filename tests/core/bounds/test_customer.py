"""One customer counts once, however many addresses of IPv6 they use."""

import pytest

from bunker_core.bounds.customer import customer, customer_of, parse_address


@pytest.mark.parametrize(
    ("host", "whose"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_a_customer_has_an_address_or_a_network(host: str, whose: str) -> None:
    """RFC 6177: in IPv6 a customer has a /64 at least; IPv4 in IPv6 is IPv4."""
    address = parse_address(host)
    assert address is not None
    assert customer_of(address) == customer(host) == whose


@pytest.mark.parametrize("host", ["", "localhost", "192.0.2", "/run/socket", "1" * 5_000])
def test_what_is_no_address_is_none(host: str) -> None:
    """A name, a path or junk is nobody's address."""
    assert parse_address(host) is None
    assert customer(host) == host
