"""The connections that are no WebSocket yet: how many there may be, and how long each phase lasts.

Whoever connects and says nothing costs a descriptor, and the relay has only so many. Beyond its
bound an address loses the oldest connection that has not asked for anything, so that a client
that speaks at once is heard, however many keep silent. And whoever asks again and again costs
processor time: an address has its rate of requests, and what is over it is turned away unread.
"""

import asyncio
import resource
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bunker_core.bounds.rate import Buckets
from bunker_relay.client.fast_path import FastPathProtocol
from bunker_relay.config import Config, Rates
from bunker_relay.event.limits import Addresses
from bunker_relay.http import handshake
from bunker_relay.logs import log
from bunker_relay.metrics import Counters

HEAD_BYTES: Final = 65_536
_HEAD_SECONDS: Final = 10.0
_DESCRIPTORS: Final = 65_536  # as many as the relay asks for
_RESERVE: Final = 100  # descriptors for database, log, bus and the connections between workers
_LINGER: Final = 1.0  # seconds in which whoever still sends a body can read that it is not wanted
_PIPELINED: Final = 8  # requests that wait for the answer before; no browser sends even one
_PROXY: Final = ""  # stands for every address that may bring many clients
# They have a rate of their own: whoever asks for the page too often is not to look like an outage.
_HEALTH: Final = (b"/healthz", b"/readyz")
_TOO_MANY: Final = (  # RFC 6585, section 4
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nAccess-Control-Allow-Origin: *\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 18\r\nConnection: close\r\n\r\n"
    b"too many requests\n"
)

# Given the scope of a request, returns what serves its WebSocket; None to take the ordinary way.
Opens = Callable[[Any], Callable[[FastPathProtocol], None] | None]


class Droppable(Protocol):
    """A connection."""

    def drop(self) -> None:
        """End it at once."""


class Waiting:
    """Connections that are no WebSocket yet, by address; the silent ones in the order they came."""

    def __init__(self, per_address: int = 200, total: int = 1_000) -> None:
        """`per_address` and `total` are the most connections at once."""
        self.per_address = per_address
        self.total = total
        self._addresses: dict[Droppable, str] = {}
        self._counts: Counter[str] = Counter()
        # An OrderedDict finds its oldest entry at once, however many were taken out before it.
        self._silent: dict[str, OrderedDict[Droppable, None]] = {}
        self._all_silent: OrderedDict[Droppable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._addresses)

    def enter(self, connection: Droppable, address: str) -> bool:
        """Take `connection` in, if there is room or some can be made; else False."""
        silent: OrderedDict[Droppable, None] | None = None
        if address != _PROXY and self._counts[address] >= self.per_address:
            silent = self._silent.get(address)
        elif len(self._addresses) >= self.total:
            silent = self._all_silent
        else:
            self._add(connection, address)
            return True
        if not silent:
            return False
        oldest = next(iter(silent))
        self.leave(oldest)
        oldest.drop()
        self._add(connection, address)
        return True

    def speaks(self, connection: Droppable) -> None:
        """Keep `connection`, whose request has come whole; until `silent`."""
        address = self._addresses.get(connection)
        if address is not None and connection in self._all_silent:
            del self._all_silent[connection]
            del self._silent[address][connection]
            if not self._silent[address]:
                del self._silent[address]

    def silent(self, connection: Droppable) -> None:
        """Note that `connection` has its answer and asks for nothing now."""
        address = self._addresses.get(connection)
        if address is not None:
            self._silent.setdefault(address, OrderedDict())[connection] = None
            self._all_silent[connection] = None

    def leave(self, connection: Droppable) -> None:
        """Count `connection` no more: it has gone, or is a WebSocket now."""
        self.speaks(connection)
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _add(self, connection: Droppable, address: str) -> None:
        self._addresses[connection] = address
        self._counts[address] += 1
        self.silent(connection)


class HTTPProtocol(HttpToolsProtocol):
    """Bounds what uvicorn leaves to a proxy: the size of a head, times, and how many wait."""

    waiting = Waiting()
    addresses = Addresses(())
    requests = Buckets(Rates().requests_per_ip)  # by address
    counters = Counters()
    request_seconds = 20.0  # from the end of the head to the end of the answer
    opens: Opens | None = None  # set where the fast path is open
    _head_timer: asyncio.TimerHandle | None = None
    _request_timer: asyncio.TimerHandle | None = None
    _upgrades: bool | None = None  # once the head of the request is there
    _in_body = False  # between the head and the end of what was read last
    _turned_away = False

    @classmethod
    def configure(cls, config: Config) -> int:
        """Take the bounds of this process and return how many WebSockets there is room for.

        Raises the limit of open files as far as it may.
        """
        descriptors = _raise_descriptors()
        limits = config.limits
        cls.reconfigure(config)
        cls.waiting = Waiting(
            limits.max_connections_per_ip, min(limits.max_connections, descriptors // 4)
        )
        room = descriptors - cls.waiting.total - _RESERVE
        if room < limits.max_connections:
            log.warning(
                "fewer clients than limits.max_connections have room: raise the limit of open files"
                " (LimitNOFILE= in a systemd unit, ulimit -n in a shell)",
                open_files=descriptors,
                clients=max(0, room),
                max_connections=limits.max_connections,
            )
        return max(0, room)

    @classmethod
    def reconfigure(cls, config: Config) -> None:
        """Take another rate and other proxies; what is in the buckets stays."""
        cls.addresses = Addresses(config.trusted_proxies)
        cls.requests.configure(config.rates.requests_per_ip)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self.waiting.enter(self, self._address()):
            self.drop()
            return
        self._begin_head()

    def drop(self) -> None:
        """End the connection at once."""
        self._end_of_head()
        self._end_of_request()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:  # the head is still not complete
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._upgrades = None
        if self._head_timer is None:  # another request on the same connection
            self._begin_head()

    def on_url(self, url: bytes) -> None:
        self._count_parsed(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_parsed(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        # One read brings up to 14,000 of the shortest, of which each would take 1 KiB.
        if len(self.pipeline) >= _PIPELINED:
            raise ValueError("too many requests at once")
        self._end_of_head()
        # A WebSocket that opens has its own rate (`Admission`).
        if not (self.parser.should_upgrade() and self._should_upgrade()) and not self._may_ask():
            self._turned_away = True
            raise ValueError("too many requests")  # so that the parser takes no more
        self.waiting.speaks(self)
        self._begin_request()
        self._in_body = True
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with a request, or that it is one too many, and close."""
        if self._turned_away:
            self._turn_away()
        else:
            super().send_400_response(msg)

    def _turn_away(self) -> None:
        self.counters.requests_refused += 1
        self.transport.write(_TOO_MANY)
        self.transport.close()
        self._begin_request()  # whoever reads no answer is dropped in time

    def _may_ask(self) -> bool:
        """Take a token of whom the request counts for."""
        address = self.addresses.key({"client": self.client, "headers": self.headers})
        key = f"health of {address}" if self.url.startswith(_HEALTH) else address
        return self.requests.take(key, self.loop.time())

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Look through the headers once; uvicorn asks three times."""
        if self._upgrades is None:
            self._upgrades = super()._should_upgrade()
        return self._upgrades

    def on_response_complete(self) -> None:
        self._end_of_request()
        if self.pipeline:
            self._begin_request()
        else:
            self.waiting.silent(self)
        super().on_response_complete()
        if self._in_body and not self.pipeline and not self.transport.is_closing():
            # What follows the answer may have no end, and nobody would count it.
            self.transport.pause_reading()
            self._request_timer = self.loop.call_later(_LINGER, self.transport.close)

    def handle_websocket_upgrade(self) -> None:
        self._end_of_request()
        if self.opens is not None:
            if self._open(self.opens):
                return
            # It is refused, or unusual. To say so costs more than to open it.
            if not self._may_ask():
                self._turn_away()
                return
        self.waiting.leave(self)  # the relay counts it from now on
        super().handle_websocket_upgrade()

    def _open(self, opens: Opens) -> bool:
        """Open the WebSocket without a second parser, if nothing about the request is unusual."""
        scope = self.scope
        accepted = handshake.accept(scope["method"], scope["http_version"], self.headers)
        if accepted is None or self.cycle is not None:
            return False
        scope["path"] = self.url.decode("latin-1")
        serve = opens(scope)
        if serve is None:
            return False
        self.waiting.leave(self)  # the relay counts it from now on
        self.connections.discard(self)
        protocol = FastPathProtocol(self.config, self.server_state, self.app_state)
        protocol.adopt(self.transport, self.server, self.client)
        self.transport.set_protocol(protocol)
        self.transport.write(handshake.response(accepted, self.server_state.default_headers))
        serve(protocol)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_of_head()
        self._end_of_request()
        self.waiting.leave(self)
        super().connection_lost(exc)

    def _address(self) -> str:
        if self.client is None:
            return _PROXY  # a Unix socket
        if self.addresses.is_proxy(self.client[0]):
            return _PROXY
        return self.addresses.key({"client": self.client})

    def _count_parsed(self, size: int) -> None:
        """Refuse a head that is too large although it came whole, in one read.

        What a parser's callback raises, uvicorn answers with 400 and closes.
        """
        self._head_parsed += size
        if self._head_parsed > HEAD_BYTES:
            raise ValueError("request head is too large")

    def _begin_head(self) -> None:
        self._head_bytes = 0  # read while the head is not complete
        self._head_parsed = 0
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _end_of_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _begin_request(self) -> None:
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _end_of_request(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None


def _raise_descriptors() -> int:
    """Raise the soft limit of open files as far as is allowed and wanted; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = _DESCRIPTORS if hard == unlimited else min(hard, _DESCRIPTORS)
    if soft == unlimited or soft >= wanted:
        return _DESCRIPTORS if soft == unlimited else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS allows less than it says
        return soft
    return wanted
