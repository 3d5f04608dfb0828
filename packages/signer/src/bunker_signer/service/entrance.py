"""Where browsers come in: counted before anything is read, with a deadline for every phase.

Who has not asked yet (no head, or a body that does not end) is waiting, and whoever waits longest
goes when somebody new comes to a full house: idle connections keep nobody out, also from the
owner's own address. Who is being answered stays.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

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
class Guest:
    """One connection. `waiting` says that nothing of ours depends on it yet."""

    household: str
    end: Callable[[], object]
    since: float
    waiting: bool = True


class House:
    """Counts who is in, and says who has to go. `now` is seconds of a clock that only goes on."""

    def __init__(self, most: int = MOST, most_each: int = MOST_EACH) -> None:
        self._most = most
        self._most_each = most_each
        self._guests: dict[Guest, None] = {}
        self._households: dict[str, dict[Guest, None]] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, household: str, end: Callable[[], object], now: float) -> Guest | None:
        """Let somebody in, and out who waits longest if there is no room; None if nobody waits.

        "" is a household without a limit of its own: a proxy that stands for many.
        """
        mine = self._households.get(household, {})
        crowded = bool(household) and len(mine) >= self._most_each
        if crowded or len(self._guests) >= self._most:
            waiting = (guest for guest in (mine if crowded else self._guests) if guest.waiting)
            oldest = next(waiting, None)  # guests stand in the order of their last request
            if oldest is None:
                return None
            self.leave(oldest)
            oldest.end()
        guest = Guest(household, end, now)
        self._guests[guest] = None
        self._households.setdefault(household, {})[guest] = None
        return guest

    def wait(self, guest: Guest, *, waiting: bool) -> None:
        """Note that `guest` waits for its next request, or is being answered."""
        if guest not in self._guests or guest.waiting is waiting:
            return
        guest.waiting = waiting
        for place in (self._guests, self._households[guest.household]):
            del place[guest]
            place[guest] = None

    def leave(self, guest: Guest) -> None:
        """Forget a connection; one that is gone already stays gone."""
        if self._guests.pop(guest, guest) is guest:
            return
        mine = self._households[guest.household]
        del mine[guest]
        if not mine:
            del self._households[guest.household]


def household(peer: str) -> str:
    """Return what one person has of addresses: in IPv6 a network of them (RFC 6177)."""
    try:
        address = IPv6Address(peer)
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, 64), strict=False))


@dataclass(slots=True)
class Entrance:
    """Accepts on `listener` while it is open, for a uvicorn server: one of its `servers`."""

    listener: socket.socket
    proxies: Sequence[IPv4Network | IPv6Network]
    tls: ssl.SSLContext | None
    make: Callable[["Guest", "House"], "Doorway"]
    house: House = field(default_factory=lambda: House(share(MOST)))
    clock: Callable[[], float] = time.monotonic
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _accepting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to accept."""
        self.listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        """Accept nobody any more; who is in stays."""
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
                connection, address = await loop.sock_accept(self.listener)
            except ConnectionError:
                continue  # gone before it was taken
            except OSError as error:
                if not said:
                    log.error("no connection can be accepted", error=str(error))
                said = True
                await asyncio.sleep(_FULL_PAUSE)
                continue
            said = False
            self._take(connection, str(address[0]))

    def _take(self, connection: socket.socket, peer: str) -> None:
        name = "" if self._is_proxy(peer) else household(peer)
        opening: list[asyncio.Task[None]] = []
        guest = self.house.enter(name, lambda: opening[0].cancel(), self.clock())
        if guest is None:
            connection.close()
            return
        task = asyncio.create_task(self._open(connection, guest))
        opening.append(task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, connection: socket.socket, guest: Guest) -> None:
        loop = asyncio.get_running_loop()
        connected = False
        options: dict[str, Any] = {}
        if self.tls is not None:
            options = {"ssl": self.tls, "ssl_handshake_timeout": HEAD_SECONDS}
        try:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                await loop.connect_accepted_socket(
                    lambda: self.make(guest, self.house), connection, **options
                )
                connected = True
        finally:
            if not connected:
                self.house.leave(guest)
                connection.close()

    def _is_proxy(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self.proxies)


class Doorway(H11Protocol):
    """One connection of HTTP/1.1, each phase of it with a deadline that runs from its start."""

    def __init__(self, guest: Guest, house: House, **uvicorn_own: Any) -> None:
        super().__init__(**uvicorn_own)
        self._guest = guest
        self._house = house
        self._phase = ""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._guest.end = transport.abort
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.leave(self._guest)
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
        self._house.wait(self._guest, waiting=self._phase in ("head", "body"))

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


class EntranceServer(uvicorn.Server):
    """A uvicorn server that lets browsers in by an Entrance, and leaves signals to the signer."""

    def __init__(self, config: uvicorn.Config, proxies: Sequence[str] = ()) -> None:
        super().__init__(config)
        self._proxies = [ip_network(item, strict=False) for item in proxies]
        self.entrances: list[Entrance] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()

        def make(guest: Guest, house: House) -> Doorway:
            return Doorway(
                guest,
                house,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        for listener in sockets or []:
            entrance = Entrance(listener, self._proxies, self.config.ssl, make)
            entrance.open()
            self.entrances.append(entrance)
        self.servers = self.entrances  # type: ignore[assignment]  # it closes them, no more
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
