"""What a WebSocket may cost before any message of it is whole, and after its last one.

uvicorn leaves four things to the client's good will: that its handshake can be read, that it reads
the pongs it asks for, that a message has fewer pieces than bytes, and that it takes what is left
when the connection closes.
"""

import asyncio
from typing import Final

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

FRAGMENTS: Final = 4_096  # of one message; clients that cut at all send pieces of 1 KiB and more
_POLICY_VIOLATION: Final = 1008  # RFC 6455, section 7.4.1
CLOSING_SECONDS: float = 10.0  # for a client to take what is left


_SAID: Final = b"a request with a body, or one that can't be read, opens no WebSocket\n"
_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_SAID), _SAID)
)


class BoundedProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, with a bound for each of the four."""

    _pong = b""  # the answer to the latest ping, for when the client reads again
    _ending: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Read what has come; first of all a whole handshake, which uvicorn hands over at once.

        What websockets refuses to read of it, a body or a head over its bounds, uvicorn would
        neither answer nor end, and nobody counts the connection any more.
        """
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            refusal = b"".join(self.conn.data_to_send())
            self.transport.write(refusal or _BAD_REQUEST)
            self.transport.close()
            self.end_in_time()

    def handle_ping(self) -> None:
        """Answer; but while the client reads nothing, keep the latest answer alone.

        RFC 6455, section 5.5.3, allows it.
        """
        if self.writable.is_set():
            super().handle_ping()
        elif output := b"".join(self.conn.data_to_send()):
            self._pong = output

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        pong, self._pong = self._pong, b""
        if pong and not self.close_sent and not self.transport.is_closing():
            self.transport.write(pong)

    def handle_cont(self, event: Frame) -> None:
        """Take a piece of a message, unless it is one too many: even an empty one takes memory."""
        if self.close_sent:
            return
        if len(self.frames) < FRAGMENTS:
            super().handle_cont(event)
            return
        self.frames = []
        self.conn.send_close(_POLICY_VIOLATION, "too many fragments")
        self.handle_parser_exception()

    def handle_close(self, event: Frame) -> None:
        """The client ends the connection."""
        super().handle_close(event)
        self.end_in_time()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says, of which a close is the last."""
        if message["type"] == "websocket.close":
            self.end_in_time()  # first: what is before it may not be taken either
        await super().send(message)

    def handle_parser_exception(self) -> None:
        """The client has broken the protocol."""
        super().handle_parser_exception()
        self.end_in_time()

    def eof_received(self) -> None:
        """The client sends nothing more; the transport closes once all is sent."""
        super().eof_received()
        self.end_in_time()

    def end_in_time(self) -> None:
        """Drop what the client has not taken after CLOSING_SECONDS.

        A transport that closes waits for it without end, and nobody counts the connection any more.
        """
        if self._ending is None:
            self._ending = self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        super().connection_lost(exc)
