"""What went over the wire in one case, decrypted where the kit has the key."""

import re
import time
from dataclasses import dataclass
from typing import Final

# A case of a thousand events is read by its beginning and its end.
_HEAD: Final = 60  # messages
_TAIL: Final = 60
_TEXT: Final = 1_200  # characters of one message
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class TracedMessage:
    """One message. `at` is seconds since the case began; `plain` is its decrypted content."""

    at: float
    who: str  # the kit's end of the connection
    sent: bool  # by the kit, else to it
    text: str
    plain: str = ""

    def __str__(self) -> str:
        arrow = "->" if self.sent else "<-"
        inside = f"   [{self.plain}]" if self.plain else ""
        return f"{self.at:7.3f} {self.who} {arrow} {self.text}{inside}"


class Trace:
    """The messages of one case, in order. Keeps a bounded part of a long one."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._head: list[TracedMessage] = []
        self._tail: list[TracedMessage] = []
        self._left_out = 0
        self._hidden: list[tuple[str, str]] = []

    def hide(self, secret: str, name: str) -> None:
        """Show `name` wherever `secret` would be shown."""
        if secret:
            self._hidden.append((secret, f"({name})"))

    def add(self, who: str, sent: bool, text: str, plain: str = "") -> None:
        """Append one message."""
        at = time.monotonic() - self._began
        message = TracedMessage(at, who, sent, self._shown(text), self._shown(plain))
        if len(self._head) < _HEAD:
            self._head.append(message)
            return
        self._tail.append(message)
        if len(self._tail) > _TAIL:
            del self._tail[0]
            self._left_out += 1

    def messages(self) -> tuple[TracedMessage, ...]:
        """Return what is kept."""
        gap: list[TracedMessage] = []
        if self._left_out:
            gap = [
                TracedMessage(self._tail[0].at, "", True, f"… {self._left_out} messages left out …")
            ]
        return (*self._head, *gap, *self._tail)

    def _shown(self, text: str) -> str:
        for secret, name in self._hidden:
            text = text.replace(secret, name)
        if len(text) > _TEXT:
            text = f"{text[:_TEXT]}… ({len(text)} characters)"
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
