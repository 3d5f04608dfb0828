"""The frames of a connection: each whole, masked text message goes out as it is read.

All else, and everything while a fragmented message is under way, is the stock parser's.
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from bunker_relay.client.cork import Cork
from bunker_relay.client.fair_reads import LARGE_READ, MANY, FairProtocol, FairReads
from bunker_relay.logs import defect

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without a wheel
    from websockets.utils import apply_mask

LARGE: Final = 262_144  # bytes of one message that every connection may have on its way

FRAMES: Final = 64  # of one connection that are taken before it is everybody's turn again
_THEIRS: Final = 8  # frames that one counts for which the stock parser takes, such as a ping
_UNSEEN: Final = 64  # bytes that count as one frame where we do not see where one begins

_TEXT: Final = 0x81  # FIN and opcode 1 (RFC 6455, section 5.2)
_ALL: Final = sys.maxsize

Text = str | bytes  # bytes as they came, not known to be UTF-8
Take = Callable[[Text | None], None]


class FrameProtocol(FairProtocol):
    """One WebSocket connection whose messages go to `_take`, once that is there.

    It is called with the text of every message, None for a binary one, and raises
    UnicodeDecodeError for text that is not UTF-8: who parses it finds that out.
    """

    _fair_reads: FairReads
    _take: Take | None = None
    _held = False  # the application reads no further: messages wait in `_later`
    _later: deque[Text | None] | None = None
    _cork: Cork | None = None
    _ours: bytearray | None = None  # the beginning of a frame whose end has not come
    _wanted = 0  # bytes without which `_ours` can't be read on
    _kept = 0  # bytes that `_large` has granted for a message that is not whole
    _large: Callable[[int], bool]
    _theirs = 0  # bytes that the stock parser has to get before we look at frames again

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if self._take is None:
            super().data_received(data)
            return
        if len(data) >= LARGE_READ:
            self._queue()
        if self._rest is not None:  # it was told to read no further
            self._append(data)
            return
        if self._ours is not None:
            self._ours += data
            if len(self._ours) < self._wanted:
                return
            data, self._ours = bytes(self._ours), None
            self._keep(0)
        if self._fair_reads.taken and self._fair_reads.has_had_its_share(self._address):
            self._leave(data, 0)
            return
        self._read_from(data, 0)

    def _is_held(self) -> bool:
        return self._held

    def _read_from(self, data: bytes, at: int) -> None:
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
                self._leave(data, at)
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
        """Have no more memory for a message."""
        if self._kept:
            self._keep(0)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Drop the connection, whatever was still to be sent."""
        self._take = None
        self.transport.abort()

    def _find_place(self) -> None:
        """Look at frames from now on, or from the next one whose header we see."""
        if not self._is_between_messages():
            self._theirs = _ALL

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
