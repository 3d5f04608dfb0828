"""Is this machine's clock right? Events are refused by it, and nobody would know why.

Three witnesses count. The relay writes down when it was at work (the time of its lock file), so
that a clock that starts in the past is noticed. This program was installed at some time, and
systemd notes when it last set the clock, which a first start can be held against. And whoever the
relay is there for signs with a clock of their own. What strangers send proves nothing: it is
logged, and does not make the relay unready.
"""

import contextlib
import os
from collections.abc import Set
from pathlib import Path
from typing import Final

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, verify
from bunker_relay.troubles import Troubles

NAME: Final = "clock"  # of the trouble
_STRANGERS: Final = 3  # of one opinion
_ADVICE: Final = (
    "set this machine's clock (`timedatectl status`); until then new events are refused as too far"
    " in the future"
)


# Files that can't be younger than now, and what it says of the clock that one is.
WITNESSES: tuple[tuple[Path, str], ...] = (
    (Path(__file__), "by when this program was installed"),
    (Path("/var/lib/systemd/timesync/clock"), "by when systemd-timesyncd last set it"),
)


class Clock:
    """Compares. All times are Unix seconds by this machine's clock."""

    def __init__(self, troubles: Troubles, diary: Path, allowed: int) -> None:
        """`diary` is the file whose time is kept; `allowed` seconds of difference are nothing."""
        self._troubles = troubles
        self._diary = diary
        self._allowed = allowed
        self._strangers: set[str] = set()
        self._next_check = 0.0
        self.doubted = False

    def begin(self, now: float) -> None:
        """Compare with the time at which the relay was last at work, and with `WITNESSES`."""
        for file, whose in ((self._diary, "by when it last ran"), *WITNESSES):
            with contextlib.suppress(OSError):
                behind = file.stat().st_mtime - now
                if behind > self._allowed and not self.doubted:
                    self._doubt(behind, whose, ready=False)

    def note(self, now: float) -> None:
        """Write down that the relay is at work."""
        if not self.doubted:
            with contextlib.suppress(OSError):
                os.utime(self._diary, (now, now))

    def from_the_future(self, event: Event, trusted: Set[str], now: float) -> None:
        """Take an event that was refused as too far in the future."""
        mine = event.pubkey in trusted
        if self.doubted or now < self._next_check or event.pubkey in self._strangers:
            return
        self._next_check = now + 1  # a signature a second, whoever sends
        try:
            verify(event)
        except InvalidEvent:
            return
        if not mine:
            self._strangers.add(event.pubkey)
        if mine or len(self._strangers) >= _STRANGERS:
            whose = "by one of its own signers or publishers" if mine else "by several clients"
            self._doubt(event.created_at - now, whose, ready=not mine)

    def agrees(self, event: Event, trusted: Set[str], now: float) -> None:
        """Take an event that was accepted while the clock was doubted.

        Where there is somebody to trust, nobody else settles it.
        """
        if trusted and event.pubkey not in trusted:
            return
        if abs(event.created_at - now) <= self._allowed:
            self.doubted = False
            self._strangers.clear()
            self._troubles.over(NAME)

    def _doubt(self, behind: float, whose: str, *, ready: bool) -> None:
        self.doubted = True
        fact = f"this machine's clock is {_duration(behind)} behind, {whose}"
        self._troubles.report(NAME, fact, _ADVICE, ready=ready)


def _duration(seconds: float) -> str:
    for size, word in ((86_400, "days"), (3_600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds / 60:.0f} minutes"
