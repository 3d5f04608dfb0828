"""Say how far a run is: in a line that changes on a terminal, in a log now and then."""

import sys
import time
from typing import Final

EVERY: Final = 10.0  # seconds between two lines in a log


class Progress:
    """What is said about one module, with the seconds since it began."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._begun = self._told = time.monotonic()
        self._open = False  # whether a line stands that is to change

    def say(self, text: str) -> None:
        """Write a line."""
        self._tell(f"{self._line(text)}\n")

    def show(self, text: str) -> None:
        """Write a text as it is."""
        self._tell(text)

    def at(self, text: str) -> None:
        """Say how far it is."""
        if sys.stdout.isatty():
            self._tell(self._line(text))
            self._open = True
        elif time.monotonic() >= self._told + EVERY:
            self._told = time.monotonic()
            self.say(text)

    def _line(self, text: str) -> str:
        return f"{self._module}, {time.monotonic() - self._begun:.0f} s: {text}"

    def _tell(self, text: str) -> None:
        if self._open:
            sys.stdout.write("\r\x1b[K")
            self._open = False
        sys.stdout.write(text)
        sys.stdout.flush()
