"""Who is let in, by address, room and rate; and the start of their connection."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Receive, Scope, Send

from bunker_core.bounds.rate import Buckets
from bunker_core.nips.relay_url import parse_relay_url
from bunker_relay.client.connection import Connection
from bunker_relay.client.fair_reads import TURNS
from bunker_relay.client.fast_path import EXTENSION, FastPathProtocol
from bunker_relay.config import Config
from bunker_relay.event.limits import Addresses
from bunker_relay.logs import defect

if TYPE_CHECKING:
    from bunker_relay.client.parts import Parts
    from bunker_relay.event.lists import Lists
    from bunker_relay.troubles import Troubles

_PROXY: Final = (
    "a proxy on this machine or network says who the clients are, but is not trusted to: all of"
    " them share one address's limits"
)
_PROXY_ADVICE: Final = "set trusted_proxies to its address, such as 127.0.0.1"
_MAPPED: Final = "::ffff:"  # RFC 4291, section 2.5.5.2
_FORBIDDEN: Final = 403  # HTTP status, RFC 9110
_TOO_MANY: Final = 429  # RFC 6585


class Admission:
    """The relay's address, for WebSockets: an ASGI application, and the fast path."""

    def __init__(
        self, config: Config, parts: "Parts", lists: "Lists", troubles: "Troubles"
    ) -> None:
        """`parts` are what every connection works with."""
        self._config = config
        self._parts = parts
        self._lists = lists
        self._troubles = troubles
        self._connecting = Buckets(config.rates.connections_per_ip)
        self._addresses = Addresses(config.trusted_proxies)
        self._connections_by_address: dict[str, int] = {}
        self.room = config.limits.max_connections  # connections that the system leaves us

    def configure(self, config: Config) -> None:
        """Take other limits; the connections that are there stay."""
        self._config = config
        self._connecting.configure(config.rates.connections_per_ip)
        self._addresses = Addresses(config.trusted_proxies)
        self._troubles.over("proxy")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket (ASGI)."""
        if (await receive())["type"] != "websocket.connect":
            return
        address = self._addresses.key(scope)
        refused = self._refusal(scope, address)
        if refused is not None:
            await self._turn_away(send, *refused)
            return
        fast_path = scope.get("extensions", {}).get(EXTENSION)
        if fast_path is not None:
            await send(_accept(scope))
            self._attach(scope, address, fast_path)
            return  # nothing of ASGI waits with the client
        turns = scope.get("extensions", {}).get(TURNS)
        if turns is not None:
            turns.take_turns(self._parts.fair_reads, address)
        with self._counted(address):
            await send(_accept(scope))
            try:
                await Connection(
                    self._parts, address, self.urls_for(scope), scope, receive, send
                ).run()
            except OSError:
                return  # the client has gone
            except Exception as error:
                defect("a connection failed", error)
                raise

    def opens(self, scope: Scope) -> Callable[[FastPathProtocol], None] | None:
        """Return what serves the WebSocket of a request to the relay's own address.

        None where another answer has to be given: that is ASGI's part.
        """
        if scope["path"] not in self._config.paths:
            return None
        address = self._addresses.key(scope)
        if self._refusal(scope, address) is not None:
            return None
        return lambda fast_path: self._attach(scope, address, fast_path)

    def _attach(self, scope: Scope, address: str, fast_path: FastPathProtocol) -> None:
        self._count(address, 1)
        connection = Connection(
            self._parts,
            address,
            self.urls_for(scope),
            scope,
            fast_path.receive,  # type: ignore[arg-type]  # uvicorn has types of its own for ASGI
            fast_path.send,  # type: ignore[arg-type]
            fast_path,
        )
        connection.attach(fast_path, lambda: self._count(address, -1))

    def _refusal(self, scope: Scope, address: str) -> tuple[int, bytes] | None:
        """Return status and text for a client that is not let in; else count its connection."""
        if not self._troubles.has("proxy") and self._addresses.through_stranger(scope):
            self._troubles.report("proxy", _PROXY, _PROXY_ADVICE, ready=True)
        if self._lists.blocks(address):
            return _FORBIDDEN, b"this address is blocked here\n"
        now = asyncio.get_running_loop().time()
        if not self._has_room(address) or not self._connecting.take(address, now):
            return _TOO_MANY, b"too many connections\n"
        self._parts.counters.connections += 1
        return None

    def urls_for(self, scope: Scope) -> frozenset[str]:
        """Return the relay URLs that an authorization on this connection may name (NIP-42).

        The configured one, and the address at which the connection came in. Never the Host
        header: the client writes it, and another relay that forwards our challenge could too.
        """
        host, port = scope.get("server") or (None, None)
        path = scope.get("path") or "/"
        return _urls(self._config.url, host, port, path if path in self._config.paths else "/")

    async def _turn_away(self, send: Send, status: int, text: bytes) -> None:
        self._parts.counters.connections_refused += 1
        headers = [(b"retry-after", b"60")] if status == _TOO_MANY else []
        start = {"type": "websocket.http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": text})

    def _has_room(self, address: str) -> bool:
        limits = self._parts.policy.limits
        return (
            len(self._parts.connections) < min(limits.max_connections, self.room)
            and self._connections_by_address.get(address, 0) < limits.max_connections_per_ip
        )

    def _count(self, address: str, change: int) -> None:
        counts = self._connections_by_address
        counts[address] = counts.get(address, 0) + change
        if not counts[address]:
            del counts[address]

    @contextlib.contextmanager
    def _counted(self, address: str) -> Iterator[None]:
        self._count(address, 1)
        try:
            yield
        finally:
            self._count(address, -1)


def _accept(scope: Scope) -> dict[str, Any]:
    """Return the message that accepts a WebSocket.

    A client that asks for subprotocols has to get one of them, or a browser gives up.
    """
    asked = scope.get("subprotocols") or (None,)
    return {"type": "websocket.accept", "subprotocol": asked[0]}


@lru_cache(maxsize=64)  # the addresses of this machine: every connection asks for one of a few
def _urls(
    configured: tuple[str, ...], host: str | None, port: int | None, path: str
) -> frozenset[str]:
    urls = set(configured)
    if host is not None and port is not None:
        host = host.removeprefix(_MAPPED)  # an IPv4 client of a socket that listens on both
        names = [f"[{host}]" if ":" in host else host]
        if host == "::1" or host.startswith("127."):
            names.append("localhost")
        urls.update(parse_relay_url(f"ws://{name}:{port}{path}") for name in names)
    return frozenset(urls)
