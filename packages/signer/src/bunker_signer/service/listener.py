"""Where browsers come in: counted before anything is read, with a deadline for every phase.

A connection that has not asked yet (no head, or a body that does not end) is waiting, and the one
that waits longest is closed when a new one finds no room: idle connections keep nobody out, also
from the owner's own address. One that is being answered stays.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bunker_core.bounds.customer import customer, parse_address
from bunker_signer.process.descriptors import share
from bunker_signer.process.logs import get_logger

MOST: Final = 256  # connections in all
MOST_EACH: Final = 64  # of one address, in IPv6 of one /64; proxies that are configured aside
HEAD_SECONDS: Final = 10.0  # to finish a TLS handshake, then to finish a request's head
BODY_SECONDS: Final = 60.0  # to finish its body: a photo from a phone takes a while
ANSWER_SECONDS: Final = 120.0  # to take the answer; a stream of events has no end
STREAM: Final = "/events"
_FULL_PAUSE: Final = 0.2  # seconds before another try when no descriptor is left

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class Connection:
    """One connection. `waiting` says that nothing of ours depends on it yet."""

    customer: str
    end: Callable[[], object]
    waiting: bool = True


class Connections:
    """Those that are open, the longest unused first."""

    def __init__(self, most: int = MOST, most_each: int = MOST_EACH) -> None:
        self._most = most
        self._most_each = most_each
        self._all: dict[Connection, None] = {}
        self._by_customer: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, customer: str, end: Callable[[], object]) -> Connection | None:
        """Count a connection, and `end` the one that waits longest if there is no room for it.

        None if none waits. "" has no limit of its own: a proxy, which stands for many customers.
        """
        mine = self._by_customer.get(customer, {})
        crowded = bool(customer) and len(mine) >= self._most_each
        if crowded or len(self._all) >= self._most:
            waiting = (item for item in (mine if crowded else self._all) if item.waiting)
            oldest = next(waiting, None)  # connections stand in the order of their last request
            if oldest is None:
                return None
            self.leave(oldest)
            oldest.end()
        connection = Connection(customer, end)
        self._all[connection] = None
        self._by_customer.setdefault(customer, {})[connection] = None
        return connection

    def wait(self, connection: Connection, *, waiting: bool) -> None:
        """Note that `connection` waits for its next request, or is being answered."""
        if connection not in self._all or connection.waiting is waiting:
            return
        connection.waiting = waiting
        for place in (self._all, self._by_customer[connection.customer]):
            del place[connection]
            place[connection] = None

    def leave(self, connection: Connection) -> None:
        """Forget a connection; one that is gone already stays gone."""
        if self._all.pop(connection, connection) is connection:
            return
        mine = self._by_customer[connection.customer]
        del mine[connection]
        if not mine:
            del self._by_customer[connection.customer]


@dataclass(slots=True)
class Listener:
    """Accepts at a socket while it is open, for a uvicorn server: one of its `servers`."""

    listening: socket.socket
    proxies: Sequence[IPv4Network | IPv6Network]
    tls: ssl.SSLContext | None
    make: Callable[[Connection, Connections], "TimedProtocol"]
    connections: Connections = field(default_factory=lambda: Connections(share(MOST)))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _accepting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to accept."""
        self.listening.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept no connection any more; those that are open stay."""
        if self._accepting is not None:
            self._accepting.cancel()
        for task in list(self._tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when nothing is accepted any more."""
        accepting = [self._accepting] if self._accepting is not None else []
        await asyncio.gather(*accepting, *self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        said = False
        while True:
            try:
                accepted, address = await loop.sock_accept(self.listening)
            except ConnectionError:
                continue  # gone before it was taken
            except OSError as error:
                if not said:
                    log.error("no connection can be accepted", error=str(error))
                said = True
                await asyncio.sleep(_FULL_PAUSE)
                continue
            said = False
            self._take(accepted, str(address[0]))

    def _take(self, accepted: socket.socket, peer: str) -> None:
        name = "" if self._is_proxy(peer) else customer(peer)
        opening: list[asyncio.Task[None]] = []
        connection = self.connections.enter(name, lambda: opening[0].cancel())
        if connection is None:
            accepted.close()
            return
        task = asyncio.create_task(self._open(accepted, connection))
        opening.append(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, accepted: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connected = False
        options: dict[str, Any] = {}
        if self.tls is not None:
            options = {"ssl": self.tls, "ssl_handshake_timeout": HEAD_SECONDS}
        try:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                await loop.connect_accepted_socket(
                    lambda: self.make(connection, self.connections), accepted, **options
                )
                connected = True
        finally:
            if not connected:
                self.connections.leave(connection)
                accepted.close()

    def _is_proxy(self, peer: str) -> bool:
        address = parse_address(peer)
        return address is not None and any(address in network for network in self.proxies)


class TimedProtocol(H11Protocol):
    """One connection of HTTP/1.1, each phase of it with a deadline that runs from its start."""

    def __init__(
        self, connection: Connection, connections: Connections, **uvicorn_own: Any
    ) -> None:
        super().__init__(**uvicorn_own)
        self._connection = connection
        self._connections = connections
        self._phase = ""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connection.end = transport.abort
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self._connection)
        self._enter("", None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        """Find out which phase the connection is in."""
        theirs = self.conn.their_state
        if theirs is h11.IDLE:
            # Between two requests uvicorn's own `timeout_keep_alive` runs.
            self._enter("head", HEAD_SECONDS if self.timeout_keep_alive_task is None else None)
        elif theirs is h11.SEND_BODY:
            self._enter("body", BODY_SECONDS)
        else:
            endless = self.scope is not None and self.scope["path"] == STREAM
            self._enter("answer", None if endless else ANSWER_SECONDS)
        self._connections.wait(self._connection, waiting=self._phase in ("head", "body"))

    def _enter(self, phase: str, seconds: float | None) -> None:
        running = self._timer is not None
        if phase == self._phase and running == (seconds is not None):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._phase = phase
        self._timer = (
            None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
        )


class BoundedServer(uvicorn.Server):
    """A uvicorn server that accepts by a Listener, and leaves signals to the signer."""

    def __init__(self, config: uvicorn.Config, proxies: Sequence[str] = ()) -> None:
        super().__init__(config)
        self._proxies = [ip_network(item, strict=False) for item in proxies]
        self.listeners: list[Listener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()

        def make(connection: Connection, connections: Connections) -> TimedProtocol:
            return TimedProtocol(
                connection,
                connections,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        for listening in sockets or []:
            listener = Listener(listening, self._proxies, self.config.ssl, make)
            listener.open()
            self.listeners.append(listener)
        self.servers = self.listeners  # type: ignore[assignment]  # it closes them, no more
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
