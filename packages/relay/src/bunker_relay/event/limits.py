"""What is bounded by address: bytes in use, and which address a connection counts for."""

import ipaddress
from sys import getsizeof
from typing import Any, Final

from starlette.types import Scope

from bunker_core.bounds.customer import customer_of, parse_address
from bunker_core.event import Event

_SMALL: Final = 8_192  # bytes: what one small subscription or event takes
_MAX_HOPS: Final = 32


class Budget:
    """Bytes in use, in all and for each key, such as an address; nothing waits here.

    The last quarter of the whole is for small pieces, so that whoever asks for much can't keep
    out who asks for little.
    """

    def __init__(self, per_key: int, total: int) -> None:
        """`per_key` and `total` are the most bytes in use at once."""
        self.configure(per_key, total)
        self.used = 0
        self._used_by: dict[str, int] = {}

    def configure(self, per_key: int, total: int) -> None:
        """Take new bounds; what is in use stays."""
        self.per_key = per_key
        self.total = total

    def take(self, key: str, size: int) -> bool:
        """Use `size` bytes more for `key`; False, and nothing taken, when that is too much."""
        total = self.total if size <= _SMALL else self.total - self.total // 4
        if not self.has_room(key, size) or self.used + size > total:
            return False
        self._used_by[key] = self._used_by.get(key, 0) + size
        self.used += size
        return True

    def has_room(self, key: str, size: int) -> bool:
        """Tell whether `key` may use `size` bytes more, as far as its own use goes."""
        return self._used_by.get(key, 0) + size <= self.per_key

    def is_full_for(self, key: str) -> bool:
        """Tell whether `key` itself has used most of what one may use."""
        return self._used_by.get(key, 0) > self.per_key // 2

    def give_back(self, key: str, size: int) -> None:
        """Use `size` bytes less, which `take` has granted."""
        self.used -= size
        mine = self._used_by[key] - size
        if mine:
            self._used_by[key] = mine
        else:
            del self._used_by[key]


def memory_of_event(event: Event) -> int:
    """Return the bytes that an event takes while it waits, roughly."""
    size = 1_000 + getsizeof(event.content)
    for tag in event.tags:
        size += 64 + sum(map(getsizeof, tag))
    return size


class Addresses:
    """Who a connection belongs to: the peer, or what a trusted proxy says about it."""

    def __init__(self, trusted_proxies: tuple[str, ...]) -> None:
        self._trusted = [ipaddress.ip_network(item) for item in trusted_proxies]

    def key(self, scope: Scope) -> str:
        """Return the IPv4 address or IPv6 /64 that a connection counts for.

        X-Forwarded-For is read from the right, and only as far as each hop is a listed proxy:
        whatever stands further left the client may have written itself.
        """
        peer = parse_address((scope.get("client") or ("",))[0])
        if peer is None:
            return "unknown"  # a Unix socket
        hops = [
            part.strip()
            for name, value in scope.get("headers", ())
            if name == b"x-forwarded-for"
            for part in value.decode("latin-1").split(",")
        ][-_MAX_HOPS:]
        while self._is_trusted(peer) and hops:
            hop = parse_address(hops.pop())
            if hop is None:
                break
            peer = hop
        return customer_of(peer)

    def is_proxy(self, host: str) -> bool:
        """Tell whether a peer may bring clients of many addresses."""
        peer = parse_address(host)
        return peer is not None and self._is_trusted(peer)

    def through_stranger(self, scope: Scope) -> bool:
        """Tell whether a neighbour passes a client on and is not in the list."""
        peer = parse_address((scope.get("client") or ("",))[0])
        return (
            peer is not None
            and peer.is_private
            and any(name == b"x-forwarded-for" for name, _ in scope.get("headers", ()))
            and not self._is_trusted(peer)
        )

    def _is_trusted(self, address: Any) -> bool:
        return any(address.version == net.version and address in net for net in self._trusted)
