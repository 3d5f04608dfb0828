"""Whose an IP address is, where something is counted by address."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

_NETWORK: Final = 64  # bits of IPv6 that one customer gets (RFC 6177): its addresses rotate freely
_CACHED: Final = 1_024  # addresses parsed of late


@lru_cache(_CACHED)
def parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return a peer's address, IPv4 in IPv6 as IPv4; None for what is none, such as a path."""
    try:
        address = ip_address(host.partition("%")[0])  # without the interface
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(_CACHED)
def customer_of(address: IPv4Address | IPv6Address) -> str:
    """Return what one customer has of addresses: an IPv4 address, or an IPv6 /64."""
    if address.version == 4:
        return str(address)
    return str(IPv6Network((address, _NETWORK), strict=False))


def customer(host: str) -> str:
    """Return `customer_of` a peer's address; what is no address stays as it is."""
    address = parse_address(host)
    return host if address is None else customer_of(address)
