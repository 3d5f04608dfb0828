"""The direct line: text messages go from uvicorn's WebSocket protocol straight to the session.

Between a socket and an ASGI application stand a queue, a task switch, two dicts and a pause of
reading for every message: more than the relay itself takes for an event, but for the signature.
Once the relay has accepted a connection it attaches to this class instead, which calls it for each
message as it is read. All else stays uvicorn's: handshake, pings, closing, and every frame that is
not one whole, masked text message, for that one goes to the same parser as ever.

`server` offers the direct line; without it, or under another server, the relay speaks ASGI.
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bunker_relay.cork import Cork, Turn
from bunker_relay.logs import defect

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without a wheel
    from websockets.utils import apply_mask

EXTENSION: Final = "bunker.direct"  # in the scope's `extensions`

_TEXT: Final = 0x81  # FIN and opcode 1 (RFC 6455, section 5.2)
_ALL: Final = sys.maxsize

Take = Callable[[str | None], None]


class DirectProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection that an application may attach to."""

    _take: Take | None = None
    _cork: Cork | None = None
    _held = False
    _ours: bytearray | None = None  # the beginning of a frame whose end has not come
    _wanted = 0  # bytes without which `_ours` can't be read on
    _theirs = 0  # bytes that the stock parser has to get before we look at frames again

    async def run_asgi(self) -> None:
        """Offer the direct line and run the application."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[EXTENSION] = self
        await super().run_asgi()

    # --- for the application -------------------------------------------------------------------

    def open_cork(self, turn: Turn, max_bytes: int, overflow: Callable[[], None]) -> Cork:
        """Return the outbox of this connection."""
        self._cork = Cork(turn, self.transport, max_bytes, overflow)
        return self._cork

    def attach(self, take: Take) -> None:
        """Call `take` with the text of every message from now on, None for a binary one.

        After `hold` the messages wait until `go_on`. The end of the connection is still to be
        learned from the application's `receive`.
        """
        self._take = take
        self._later: deque[str | None] = deque()
        # A client may have sent before it could know that it was accepted.
        while not self.queue.empty():
            message: Any = self.queue.get_nowait()
            if message["type"] != "websocket.receive":
                self.queue.put_nowait(message)
                break
            self._later.append(message.get("text"))
        if self.conn.reader.buffer or self.conn.current_size is not None:
            self._theirs = _ALL  # in the middle of a frame, of which we have not seen the header
        self.read_paused = False
        self.go_on()

    @property
    def waiting(self) -> bool:
        """Whether messages wait for `go_on`."""
        return bool(self._later)

    def hold(self) -> None:
        """Read no further."""
        if not self._held:
            self._held = True
            self.transport.pause_reading()

    def go_on(self) -> None:
        """Hand out what waits, then read on."""
        self._held = False
        while self._later and not self._held:
            self._hand_over(self._later.popleft())
        if not self._held:
            self.transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection, whatever was still to be sent."""
        self._take = None
        self.transport.abort()

    # --- in ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read frames; see RFC 6455, section 5.2."""
        if self._take is None:
            super().data_received(data)
            return
        if self._ours is not None:
            self._ours += data
            if len(self._ours) < self._wanted:
                return
            data, self._ours = bytes(self._ours), None
        at, size = 0, len(data)
        while at < size:
            if self._theirs or self.close_sent:
                at = self._pass_on(data, at)
                continue
            # A header has 2 bytes, and 2 or 8 more when the length does not fit; then the mask.
            wanted = 2
            if size - at >= 2:
                length = data[at + 1] - 0x80  # negative without a mask
                if length < 126:
                    start = at + 6
                elif length == 126:
                    start = at + 8
                    wanted = 4
                    length = int.from_bytes(data[at + 2 : at + 4])
                else:
                    start = at + 14
                    wanted = 10
                    length = int.from_bytes(data[at + 2 : at + 10])
            if size - at < wanted:
                self._ours, self._wanted = bytearray(data[at:]), wanted
                return
            end = start + length
            if (
                data[at] != _TEXT
                or not 0 <= length <= self.config.ws_max_size
                or self.conn.current_size is not None  # a fragmented message is on its way
            ):
                self._theirs = end - at if length >= 0 else _ALL
                continue
            if end > size:
                self._ours, self._wanted = bytearray(data[at:]), end - at
                return
            payload = apply_mask(data[start:end], data[start - 4 : start])
            at = end
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                self._fail(1007)
                return
            if self._held:
                self._later.append(text)
            else:
                self._hand_over(text)
            if self._take is None:
                return

    def send_receive_event_to_app(self) -> None:
        """Hand over a message that the stock parser has read: fragmented, or binary."""
        if self._take is None:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        text: str | None = None
        if self.curr_msg_data_type == "text":
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self._fail(1007)
                return
        if self._held:
            self._later.append(text)
        else:
            self._hand_over(text)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take no more frames to send."""
        if self._cork is not None:
            self._cork.close()
        super().connection_lost(exc)

    def _hand_over(self, text: str | None) -> None:
        if self._take is None:
            return
        try:
            self._take(text)
        except Exception as error:  # noqa: BLE001
            defect("a message could not be handled", error)
            self.abort()

    def _pass_on(self, data: bytes, at: int) -> int:
        """Give the stock parser what is its; return where it ends."""
        if self._cork is not None:
            self._cork.flush()  # what it answers comes after our answers
        if self.close_sent:
            self._theirs = _ALL
        end = min(len(data), at + self._theirs)
        self._theirs -= end - at
        super().data_received(data[at:end])
        return end if not self.transport.is_closing() else len(data)

    def _fail(self, code: int) -> None:
        if self._cork is not None:
            self._cork.flush()
        self.conn.send_close(code)
        self.handle_parser_exception()
        self._take = None

    # --- out -----------------------------------------------------------------------------------

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
