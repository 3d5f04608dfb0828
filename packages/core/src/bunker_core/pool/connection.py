"""One relay: a WebSocket that comes back after every loss, driven by a ClientProtocol."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from bunker_core.pool.backoff import Backoff
from bunker_core.pool.document import fetch_max_message_length
from bunker_core.pool.protocol import AskLimit, ClientProtocol, Effect, Ended, Noticed, Send
from bunker_core.pool.socket import Socket

# Larger than the largest NIP-46 frame that relays pass on; beyond it a relay is misbehaving.
MAX_MESSAGE: Final = 32 * 1024 * 1024  # bytes
OPEN_TIMEOUT: Final = 10.0  # seconds for TCP, TLS and the handshake together
PING_INTERVAL: Final = 20.0  # seconds; below the 60 s after which nginx drops an idle connection
STABLE_AFTER: Final = 10.0  # seconds; a connection that lived longer resets the backoff
# Seconds to wait at most after a connection that was open but short. A relay that restarts again
# and again would otherwise be missed for half a minute each time it is up.
SHORT_LIVED_PAUSE: Final = 1.0
SHORTEST_PAUSE: Final = 0.1  # seconds between two tries, however much there is to send
CHECK_TIMEOUT: Final = 3.0  # seconds for a pong from a relay that owes an answer
DOCUMENT_TIMEOUT: Final = 3.0  # seconds for a relay's NIP-11 document; a large event waits for it
NORMAL: Final = 1000  # RFC 6455's close codes
TOO_LARGE: Final = 1009
# Seconds that a relay's clock may be off ours unnoticed: its Date has whole seconds and travels.
# Beyond it the relay's clock is what an AUTH event has to go by (NIP-42: about ten minutes).
MAX_SKEW: Final = 30.0

log = logging.getLogger(__name__)


class ConnectionState(Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    OPEN = "open"
    WAITING = "waiting"  # for the next try; `last_error` says why
    CLOSED = "closed"


class RelayConnection:
    """Keep `protocol` connected until `close`; hand its effects, but for `Send`, to `on_effect`.

    `on_state` is called after each change of `state`. Both callbacks are called on the event loop
    and must not block.
    """

    def __init__(
        self,
        protocol: ClientProtocol,
        on_effect: Callable[["RelayConnection", Effect], None],
        on_state: Callable[["RelayConnection"], None],
        clock: Callable[[], float] = time.time,
        backoff: Backoff | None = None,
        fetch_limit: Callable[[str, float], Awaitable[int | None]] = fetch_max_message_length,
    ) -> None:
        self.protocol = protocol
        self.state = ConnectionState.CONNECTING
        self.last_error: str | None = None
        self.clock_skew: float | None = None  # seconds that the relay's clock is ahead of ours
        self.round_trip: float | None = None  # seconds, of the last check
        self._on_effect = on_effect
        self._on_state = on_state
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._fetch_limit = fetch_limit
        self._asking: asyncio.Task[None] | None = None
        self._outbox: list[str] = []
        self._hurry = asyncio.Event()
        self._timers: set[asyncio.TimerHandle] = set()
        self._socket: Socket | None = None
        self._checking: asyncio.Task[None] | None = None
        self._open_until: float | None = None  # when the last connection that was open ended
        self._task = asyncio.create_task(self._run(), name=f"relay {self.url}")

    @property
    def url(self) -> str:
        """The relay's URL, in normal form."""
        return self.protocol.relay_url

    def apply(self, effects: Iterable[Effect]) -> None:
        """Act on effects of the protocol, in order."""
        for effect in effects:
            match effect:
                case Send(text):
                    if not self._outbox:  # all of this turn leaves in one write
                        asyncio.get_running_loop().call_soon(self._flush)
                    self._outbox.append(text)
                case AskLimit():
                    self._asking = asyncio.create_task(self._ask_limit())
                case Noticed(text):
                    # The relay's words, so cut and quoted before they reach a terminal.
                    log.info("relay %s says %r", self.url, text[:200])
                case Ended(subscription_id, _):
                    self._resubscribe_later(subscription_id)
                    self._on_effect(self, effect)
                case _:
                    self._on_effect(self, effect)

    def hurry(self) -> None:
        """Try again at once when waiting, because there is something to send."""
        self._hurry.set()

    def check(self) -> None:
        """Find out whether an open connection is alive; one that is not is dropped and renewed.

        A connection whose other end vanished without a word looks open for minutes otherwise.
        """
        if self._socket and not self._checking:
            self._checking = asyncio.create_task(self._check(self._socket))

    async def checked(self) -> None:
        """Check, and wait for the outcome: then `round_trip` is of now."""
        self.check()
        if self._checking:
            await asyncio.wait([self._checking])

    async def close(self) -> None:
        """Close the connection in good order (1000) and stop trying."""
        if self._socket:
            self._flush()
            await self._socket.close()
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while True:
                self._set_state(ConnectionState.CONNECTING)
                await self._connect_once()
                self._hurry.clear()
                self._set_state(ConnectionState.WAITING)
                now = asyncio.get_running_loop().time()
                away = None if self._open_until is None else now - self._open_until
                delay = self._backoff.delay(away)
                try:
                    await asyncio.sleep(SHORTEST_PAUSE)
                    async with asyncio.timeout(delay - SHORTEST_PAUSE):
                        await self._hurry.wait()
                except TimeoutError:
                    pass
        finally:
            for timer in self._timers:
                timer.cancel()
            if self._asking:
                self._asking.cancel()
            self._set_state(ConnectionState.CLOSED)

    async def _connect_once(self) -> None:
        opened_at: float | None = None
        code: int | None = None  # of the relay's close frame
        loop = asyncio.get_running_loop()
        try:
            async with connect(
                self.url,
                create_connection=Socket,
                open_timeout=OPEN_TIMEOUT,
                ping_interval=PING_INTERVAL,
                ping_timeout=PING_INTERVAL,
                close_timeout=1.0,
                max_size=MAX_MESSAGE,
                compression=None,  # ciphertext does not compress
                user_agent_header="nostr-bunker",
                proxy=None,  # a relay's address is never handed to a proxy by a stray variable
            ) as socket:
                opened_at = loop.time()
                if not isinstance(socket, Socket):
                    raise TypeError(type(socket).__name__)
                await self._serve(socket)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else None
            self.last_error = "connection lost" if code is None else f"relay closed ({code})"
        except TimeoutError:
            self.last_error = f"no answer within {OPEN_TIMEOUT:.0f} s"
        except InvalidHandshake as error:
            self.last_error = f"not a relay: {error}"
        except (OSError, InvalidURI) as error:
            self.last_error = _reason(error)
        except Exception:
            self.last_error = "internal error"
            log.exception("relay %s: internal error", self.url)
        else:
            code = NORMAL
            self.last_error = "relay closed the connection"
        finally:
            too_large = code == TOO_LARGE
            self.apply(self.protocol.lost(too_large=too_large, broken_off=code is None))
            if too_large:
                self.last_error = "a message was too large for the relay (1009)"
            self._outbox = []  # what matters in it is sent again by protocol.opened()
        log.info("relay %s: %s", self.url, self.last_error)
        if opened_at is None:
            return
        self._open_until = loop.time()
        if self._open_until - opened_at > STABLE_AFTER:
            self._backoff.reset()
        else:
            self._backoff.ease(SHORT_LIVED_PAUSE)

    async def _serve(self, socket: Socket) -> None:
        self.last_error = None
        self.clock_skew = _skew(socket, self._clock())
        self._socket = socket
        self.apply(self.protocol.opened())
        self._set_state(ConnectionState.OPEN)
        failures: list[Exception] = []

        def take(message: bytes) -> None:
            try:
                self.apply(self.protocol.receive(message, self._now()))
            except Exception as error:  # noqa: BLE001 -- raised where the connection is waited for
                failures.append(error)
                socket.transport.abort()

        try:
            await socket.serve(take)
        finally:
            self._socket = None
            if self._checking:
                self._checking.cancel()
                await asyncio.wait([self._checking])
                self._checking = None
            if failures:
                raise failures[0]

    async def _ask_limit(self) -> None:
        limit = await self._fetch_limit(self.url, DOCUMENT_TIMEOUT)
        self.apply(self.protocol.limit_told(limit))

    def _flush(self) -> None:
        texts, self._outbox = self._outbox, []
        if self._socket:
            self._socket.send_all(texts)

    async def _check(self, socket: Socket) -> None:
        # What websockets measures by the loop's clock is 0 on uvloop, which counts milliseconds.
        start = time.perf_counter()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await (await socket.ping())
            self.round_trip = time.perf_counter() - start
        except (TimeoutError, ConnectionClosed):
            socket.transport.abort()  # the reader sees it, and connects again
        else:
            self._checking = None

    def _now(self) -> int:
        """Return Unix seconds as the relay counts them, if it is far off our count."""
        skew = self.clock_skew or 0.0
        return int(self._clock() + (skew if abs(skew) > MAX_SKEW else 0.0))

    def _resubscribe_later(self, subscription_id: str) -> None:
        """Ask again after a while: a relay that is overloaded or restarting ends subscriptions."""
        loop = asyncio.get_running_loop()

        def again() -> None:
            self._timers.discard(timer)
            self.apply(self.protocol.resubscribe(subscription_id))

        timer = loop.call_later(self._backoff.delay(), again)
        self._timers.add(timer)

    def _set_state(self, state: ConnectionState) -> None:
        if state is not self.state:
            self.state = state
            self._on_state(self)


def _skew(socket: Socket, now: float) -> float | None:
    """Return how many seconds the relay's clock is ahead of `now`, by the Date of its handshake."""
    date = socket.response.headers.get("Date") if socket.response else None
    try:
        return parsedate_to_datetime(date).timestamp() - now if date else None
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    # asyncio raises a bare OSError with several addresses' errors in its text
    return "connection refused" if "Connect call failed" in str(error) else str(error)
