"""How large a frame one relay takes: what it says (NIP-11), and what its closing has taught."""

from typing import Final

# Every relay of the field takes so much (strfry and nostr-rs-relay 128 KiB, most others more), so
# nobody is asked before a frame of this size is sent.
ANYWHERE: Final = 32 * 1024  # bytes
REASON: Final = "invalid: too large for the relay"


class FrameLimit:
    """The largest frame, in bytes, that may be sent to a relay.

    A relay ends the whole connection on a frame that is too large (close code 1009), for all who
    share it. So it is asked for its `max_message_length` before the first large frame, and what
    ended a connection is never sent again. One that says nothing is narrowed down in halves,
    never below what it has taken before: a handful of lost connections at most.
    """

    __slots__ = ("_doubts", "_learned", "_proven", "_told", "asked")

    def __init__(self) -> None:
        self.asked = False  # whether the relay's answer, or its silence, is known
        self._told: int | None = None
        self._learned: int | None = None
        self._proven = ANYWHERE
        self._doubts = 0

    @property
    def value(self) -> int | None:
        """The limit in bytes, None while nothing is known of one."""
        known = [item for item in (self._told, self._learned) if item is not None]
        return min(known, default=None)

    def must_ask(self, size: int) -> bool:
        """Tell whether a frame of `size` bytes has to wait until the relay was asked."""
        return size > ANYWHERE and not self.asked

    def refusal(self, size: int) -> str | None:
        """Return why a frame of `size` bytes is not sent, in the words of an OK."""
        limit = self.value
        if limit is None or size <= limit:
            return None
        return f"{REASON}, {size} of {limit} bytes"

    def told(self, limit: int | None) -> None:
        """Take the relay's max_message_length, None when it names none."""
        if limit != self._told:
            self._learned = None  # it was set up anew
        self._told = limit
        self.asked = True

    def took(self, size: int) -> None:
        """Note that the relay answered a frame of `size` bytes."""
        self._proven = max(self._proven, size)
        self._doubts = 0

    def closed_on(self, size: int) -> None:
        """Note that the relay closed because of a frame, of which the largest had `size` bytes."""
        self._learned = min(self.value or size, max(self._proven, size // 2), size - 1)
        self._doubts = 0

    def lost_with(self, size: int) -> None:
        """Note that the connection broke off, without a word, with such a frame on its way.

        A relay that resets the connection as it closes takes its own close frame along. Twice is
        no accident, unless the relay has said that it takes the frame.
        """
        if self._told is None:
            self._doubts += 1
            if self._doubts > 1:
                self.closed_on(size)
