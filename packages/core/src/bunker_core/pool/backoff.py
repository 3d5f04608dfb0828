"""How long to wait before a relay is tried again."""

import random
from collections.abc import Callable
from typing import Final

# Seconds to wait at most while a relay that worked has been away for less than RECENTLY: it comes
# back, and whoever waits for it is a person at a screen.
RETURN_PAUSE: Final = 2.0
RECENTLY: Final = 3600.0  # seconds


class Backoff:
    """Delays that double from `first` to `longest` seconds, each shortened at random by up to half.

    The jitter keeps a thousand clients of one relay from coming back in the same second.
    """

    def __init__(
        self,
        first: float = 0.2,
        longest: float = 30.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first
        self._longest = longest
        self._uniform = uniform
        self._next = first

    def reset(self) -> None:
        """Start over, after a connection that worked."""
        self._next = self._first

    def ease(self, longest: float) -> None:
        """Wait `longest` seconds at most next time, after a connection that worked for a moment."""
        self._next = min(self._next, longest)

    def delay(self, away: float | None = None) -> float:
        """Return the next delay in seconds; `away` is how long ago a working connection ended."""
        current = self._next
        if away is not None and away < RECENTLY:
            current = min(current, RETURN_PAUSE)
        self._next = min(current * 2, self._longest)
        return self._uniform(current / 2, current)
