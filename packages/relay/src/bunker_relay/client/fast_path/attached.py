"""A connection that the relay has attached to: what it is handed, and what it may tell."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from websockets.protocol import Protocol, State

from bunker_relay.client.cork import Cork, Corks
from bunker_relay.client.fair_reads import FairReads
from bunker_relay.client.fast_path.frames import FrameProtocol, Take, Text
from bunker_relay.client.outbox import Unread
from bunker_relay.logs import defect

EXTENSION: Final = "bunker.fast_path"  # in the scope's `extensions`

Peer = tuple[str, int | None]


class _Ended:
    """Stands where the queue was: all that still comes that way is the end."""

    __slots__ = ("_ended",)

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def put_nowait(self, _message: object) -> None:
        """Tell that the connection ends."""
        self._ended()


class FastPathProtocol(FrameProtocol):
    """One WebSocket connection that an application may attach to."""

    _attached = False

    async def run_asgi(self) -> None:
        """Offer the fast path and run the application, which may attach and return."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = self
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception as error:  # noqa: BLE001
            defect("a connection could not be served", error)
            self.send_500_response()
            self._attached = False
        if self._attached:
            self._forget()
        elif self.close_timer is None:
            self.transport.close()

    def adopt(self, transport: asyncio.Transport, server: Peer | None, client: Peer | None) -> None:
        """Take over a connection whose handshake is answered; the application attaches next."""
        self.connections.add(self)
        self.transport, self.server, self.client = transport, server, client  # type: ignore[assignment]
        self.scheme = "ws"
        self.handshake_initiated = self.handshake_complete = True
        self.conn.state = State.OPEN
        self.conn.parser = Protocol.parse(self.conn)  # of frames; it waited for a request
        next(self.conn.parser)
        self.start_keepalive()
        self._forget()

    def open_cork(
        self, corks: Corks, max_bytes: int, overflow: Callable[[], None], unread: Unread
    ) -> Cork:
        """Return the outbox of this connection."""
        self._cork = Cork(corks, self.transport, max_bytes, overflow, unread)
        return self._cork

    def attach(
        self,
        take: Take,
        ended: Callable[[], None],
        large: Callable[[int], bool],
        fair_reads: FairReads,
        address: str,
    ) -> None:
        """Call `take` with the text of every message from now on, None for a binary one.

        It raises UnicodeDecodeError for text that is not UTF-8: who parses it finds that out.
        After `pause_reading` the messages wait until `resume_reading`. `ended` is called when
        nothing more will be read, perhaps more than once. The application may return: the
        connection stays.
        `large` is asked for memory, in bytes, before more than LARGE of a message that is not
        whole are kept, and gets it back as a negative number; without it the connection ends.
        Large pieces are read when it is `address`'s turn in `fair_reads`.
        """
        self._take = take
        self._large = large
        self.take_turns(fair_reads, address)
        self._attached = True
        later: deque[Text | None] = deque()
        ends = False
        # A client may have sent before it could know that it was accepted.
        while not self.queue.empty():
            message: Any = self.queue.get_nowait()
            if message["type"] == "websocket.receive":
                later.append(message.get("text"))
            else:
                ends = True
        self._later = later or None
        self.queue = _Ended(ended)  # type: ignore[assignment]
        self._find_place()
        self.read_paused = False
        self.resume_reading()
        if ends:
            ended()

    @property
    def waiting(self) -> bool:
        """Whether messages wait for `resume_reading`."""
        return self._later is not None

    def pause_reading(self) -> None:
        """Read no further."""
        if not self._held:
            self._held = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Hand out what waits, then read on."""
        self._held = False
        while self._later is not None and not self._held:
            text = self._later.popleft()
            if not self._later:
                self._later = None
            self._hand_over(text)
        if not self._queued:
            self.read_on()

    def leave(self) -> None:
        """Send what is corked, then end the connection without a closing handshake."""
        if self._cork is not None:
            self._cork.flush()
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take no more frames to send."""
        if self._cork is not None:
            self._cork.close()
        super().connection_lost(exc)

    def _forget(self) -> None:
        """Drop what only the handshake needed: a client that waits costs memory and no more."""
        self.scope = self.request = self.response = None  # type: ignore[assignment]

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._cork is not None:
            self._cork.wake()

    def shutdown(self) -> None:
        """Send what is corked, then close."""
        if self._cork is not None:
            self._cork.flush()
        super().shutdown()
