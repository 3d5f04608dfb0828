"""Where a process tells that it lives, as systemd has it (sd_notify(3)): a datagram to a socket."""

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_EXTENSION: Final = b"EXTEND_TIMEOUT_USEC="
_LONGEST: Final = 4096  # bytes of a message


def _nothing() -> None:
    pass


class Life:
    """The signs of life of one child.

    `missed` is asked each quarter of the seconds that are too many; times are of `time.monotonic`.
    """

    def __init__(self, path: str, seconds: float) -> None:
        """Listen at `path`, in a directory that is ours alone; raises OSError."""
        self._path = path
        self._seconds = seconds
        self.environment: Final = {
            "NOTIFY_SOCKET": path,
            "WATCHDOG_USEC": str(int(seconds * 1e6)),
        }
        self.channel: Final = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.setblocking(False)
        self.channel.bind(path)
        self.on_extension: Callable[[], None] = _nothing
        self.heard: float | None = None  # None before the first word
        self.begin()

    def begin(self) -> None:
        """Listen to a new process, which has said nothing."""
        self.heard = None
        self._asked = time.monotonic()

    @property
    def due(self) -> float:
        """When `missed` is to be asked next."""
        return self._asked + self._seconds / 4

    def hear(self) -> None:
        """Note a sign of life; or, while the process starts, that it needs more time."""
        with contextlib.suppress(BlockingIOError):
            if _EXTENSION in self.channel.recv(_LONGEST):
                self.on_extension()
            else:
                self.heard = time.monotonic()

    def missed(self, now: float) -> bool:
        """Tell whether nothing was heard for too long; only who has begun to speak is missed."""
        if now < self.due:
            return False
        late = now - self._asked > self._seconds / 2
        self._asked = now
        if self.heard is not None and late:
            self.heard = now  # it was we who slept
        if self.heard is None or now - self.heard <= self._seconds:
            return False
        self.heard = None
        return True

    def close(self) -> None:
        """Listen no more."""
        self.channel.close()
        with contextlib.suppress(OSError):  # whoever clears up the folder for temporary files
            os.unlink(self._path)  # noqa: PTH108 -- no pathlib in this process
