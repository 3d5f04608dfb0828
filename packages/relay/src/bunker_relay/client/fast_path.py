"""The fast path: text messages go from uvicorn's WebSocket protocol straight to the relay's.

Between a socket and an ASGI application stand a queue, a task switch, two dicts and a pause of
reading for every message: more than the relay itself takes for an event, but for the signature.
Once the relay has accepted a connection it attaches to this class instead, which calls it for each
message as it is read. All else stays uvicorn's: handshake, pings, closing, and every frame that is
not one whole, masked text message, for that one goes to the same parser as ever.

`server` offers the fast path; without it, or under another server, the relay speaks ASGI.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import Protocol, State

from bunker_relay.client.cork import Cork, Corks
from bunker_relay.client.fair_reads import LARGE_READ, MANY, FairReads
from bunker_relay.client.keepalive import PatientProtocol
from bunker_relay.client.outbox import Unread
from bunker_relay.logs import defect

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without a wheel
    from websockets.utils import apply_mask

EXTENSION: Final = "bunker.fast_path"  # in the scope's `extensions`

LARGE: Final = 262_144  # bytes of one message that every connection may have on its way

FRAMES: Final = 64  # of one connection that are taken before it is everybody's turn again
_THEIRS: Final = 8  # frames that one counts for which the stock parser takes, such as a ping
_UNSEEN: Final = 64  # bytes that count as one frame where we do not see where one begins

_TEXT: Final = 0x81  # FIN and opcode 1 (RFC 6455, section 5.2)
_ALL: Final = sys.maxsize

# What `FastPathProtocol` and its bases use of uvicorn and websockets.
_METHODS: Final = (
    "connection_lost", "data_received", "eof_received", "handle_close", "handle_cont",
    "handle_parser_exception", "handle_ping", "keepalive_timeout", "receive", "resume_writing",
    "run_asgi", "send", "send_500_response", "send_keepalive_ping", "send_receive_event_to_app",
    "shutdown", "start_keepalive",
)  # fmt: skip
_ATTRIBUTES: Final = (
    "app", "client", "close_sent", "close_timer", "config", "conn", "connections",
    "curr_msg_data_type", "frames", "handshake_complete", "handshake_initiated", "ping_timeout",
    "pong_timer", "queue", "read_paused", "scheme", "server", "transport", "writable",
)  # fmt: skip
_PARSER: Final = ("current_size", "parse", "parser", "reader", "state")


def lacking() -> list[str]:
    """Return what the installed uvicorn and websockets do not have of what is used here.

    With anything on it the relay takes the ordinary way: a release of uvicorn that mends a fault
    need not wait for us.
    """
    known = WebSocketsSansIOProtocol
    set_by = {*known.__init__.__code__.co_names}
    parser = {*Protocol.__init__.__code__.co_names, *vars(Protocol)}
    return [
        *(name for name in _METHODS if not callable(getattr(known, name, None))),
        *(name for name in _ATTRIBUTES if name not in set_by),
        *(name for name in _PARSER if name not in parser),
    ]


Text = str | bytes  # bytes as they came, not known to be UTF-8
Take = Callable[[Text | None], None]
Peer = tuple[str, int | None]


class _Ended:
    """Stands where the queue was: all that still comes that way is the end."""

    __slots__ = ("_ended",)

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def put_nowait(self, _message: object) -> None:
        """Tell that the connection ends."""
        self._ended()


class FastPathProtocol(PatientProtocol):
    """One WebSocket connection that an application may attach to."""

    _attached = False
    _take: Take | None = None
    _cork: Cork | None = None
    _held = False
    _fair_reads: FairReads  # these two from `attach` on
    _address: str
    _queued = False  # waits for its turn to read on
    _rest: tuple[bytes, int] | None = None  # what was read, and from where on it is still to take
    _later: deque[Text | None] | None = None
    _ours: bytearray | None = None  # the beginning of a frame whose end has not come
    _wanted = 0  # bytes without which `_ours` can't be read on
    _kept = 0  # bytes that `_large` has granted for a message that is not whole
    _large: Callable[[int], bool]
    _theirs = 0  # bytes that the stock parser has to get before we look at frames again

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

    # --- for the application -------------------------------------------------------------------

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
        self._fair_reads = fair_reads
        self._address = address
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
        if not self._is_between_messages():
            self._theirs = _ALL  # in the middle of a frame, of which we have not seen the header
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

    def read_on(self) -> None:
        """It is its turn (see `fair_reads.Reader`): read, unless the application has paused."""
        self._queued = False
        if self._held or self.transport.is_closing():
            return
        if self._rest is not None:
            (data, at), self._rest = self._rest, None
            self._take_frames(data, at)
        if not (self._queued or self._held or self.transport.is_closing()):
            self.transport.resume_reading()

    def leave(self) -> None:
        """Send what is corked, then end the connection without a closing handshake."""
        if self._cork is not None:
            self._cork.flush()
        self.transport.close()

    def abort(self) -> None:
        """Drop the connection, whatever was still to be sent."""
        self._take = None
        self.transport.abort()

    # --- in ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if self._take is None:
            super().data_received(data)
            return
        if len(data) >= LARGE_READ:
            self._queue()
        if self._rest is not None:  # it was told to read no further
            rest, at = self._rest
            self._rest = rest + data, at
            return
        if self._ours is not None:
            self._ours += data
            if len(self._ours) < self._wanted:
                return
            data, self._ours = bytes(self._ours), None
            self._keep(0)
        if self._fair_reads.taken and self._fair_reads.has_had_its_share(self._address):
            self._rest = data, 0
            self._queue()
            return
        self._take_frames(data, 0)

    def _queue(self) -> None:
        """Read no further until it is its turn."""
        if not self._queued:
            self._queued = True
            self.transport.pause_reading()
            self._fair_reads.wait(self._address, self)

    def _take_frames(self, data: bytes, at: int) -> None:
        if self._take is None:
            return
        try:
            left = self._read(data, at, self._take)
            if left <= FRAMES - MANY:
                self._fair_reads.take(self._address, FRAMES - left)
        except UnicodeDecodeError:
            self._fail(1007)
        except Exception as error:  # noqa: BLE001
            defect("a message could not be handled", error)
            self.abort()

    def _read(self, data: bytes, at: int, take: Take) -> int:
        """Hand out the frames in `data` from `at` on; see RFC 6455, section 5.2.

        Returns how many were left of the FRAMES of one turn.
        """
        size, most, left = len(data), self.config.ws_max_size, FRAMES
        while at < size:
            # A read brings 40,000 of the smallest, which would keep everybody else waiting.
            if left <= 0:
                self._rest = data, at
                self._queue()
                return left
            if self._theirs or self.close_sent:
                at = self._pass_on(data, at)
                left -= _THEIRS
                continue
            left -= 1
            # A header has 2 bytes, and 2 or 8 more when the length does not fit; then the mask.
            wanted = 2
            if size - at >= 2:
                length = data[at + 1] - 0x80  # negative without a mask
                if length == 126:  # nearly every event
                    start = at + 8
                    wanted = 4
                    length = int.from_bytes(data[at + 2 : at + 4])
                elif length < 126:
                    start = at + 6
                else:
                    start = at + 14
                    wanted = 10
                    length = int.from_bytes(data[at + 2 : at + 10])
            if size - at < wanted:
                self._ours, self._wanted = bytearray(data[at:]), wanted
                return left
            end = start + length
            if (
                data[at] != _TEXT
                or not 0 <= length <= most
                or self.conn.current_size is not None  # a fragmented message is on its way
            ):
                self._theirs = end - at if length >= 0 else _ALL
                continue
            if end > size:
                if not self._keep(length):
                    return left
                self._ours, self._wanted = bytearray(data[at:]), end - at
                return left
            text = apply_mask(data[start:end], data[start - 4 : start])
            at = end
            if self._held:
                self._wait(text)
            else:
                take(text)
            if self._take is None:
                return left
        return left

    def send_receive_event_to_app(self) -> None:
        """Hand over a message that the stock parser has read: fragmented, or binary."""
        if self._take is None:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        text = data if self.curr_msg_data_type == "text" else None
        if self._held:
            self._wait(text)
        else:
            self._hand_over(text)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take no more frames to send."""
        self._rest = None
        if self._cork is not None:
            self._cork.close()
        if self._kept:
            self._keep(0)
        super().connection_lost(exc)

    def _is_between_messages(self) -> bool:
        """Tell whether the stock parser waits for the first byte of a message.

        After a header that came alone its buffer is as empty as between two frames.
        """
        waits: Any = self.conn.parser
        while waits.gi_yieldfrom is not None:
            waits = waits.gi_yieldfrom
        return self.conn.current_size is None and waits.__name__ == "at_eof"

    def _wait(self, text: Text | None) -> None:
        if self._later is None:
            self._later = deque()
        self._later.append(text)

    def _forget(self) -> None:
        """Drop what only the handshake needed: a client that waits costs memory and no more."""
        self.scope = self.request = self.response = None  # type: ignore[assignment]

    def _hand_over(self, text: Text | None) -> None:
        if self._take is None:
            return
        try:
            self._take(text)
        except UnicodeDecodeError:
            self._fail(1007)
        except Exception as error:  # noqa: BLE001
            defect("a message could not be handled", error)
            self.abort()

    def _pass_on(self, data: bytes, at: int) -> int:
        """Give the stock parser what is its; return where it ends."""
        if self._cork is not None:
            self._cork.flush()  # what it answers comes after our answers
        if self.close_sent:
            self._theirs = _ALL
        if self._theirs == _ALL:
            end = min(len(data), at + _UNSEEN)
        else:
            end = min(len(data), at + self._theirs)
            self._theirs -= end - at
        super().data_received(data[at:end])
        to_come = 0 if self._theirs == _ALL else self._theirs
        kept = len(self.conn.reader.buffer) + (self.conn.current_size or 0) + to_come
        if (kept > LARGE or self._kept) and not self._keep(kept):
            return len(data)
        return end if not self.transport.is_closing() else len(data)

    def _keep(self, size: int) -> bool:
        """Have memory for `size` bytes of a message that is not whole; False when it ends here."""
        needed = self.config.ws_max_size if size > LARGE else 0
        if needed > self._kept and not self._large(needed - self._kept):
            self._fail(1013)  # IANA: try again later
            return False
        if needed < self._kept:
            self._large(needed - self._kept)
        self._kept = needed
        return True

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
