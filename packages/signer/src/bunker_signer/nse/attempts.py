"""Slowing down who guesses a passphrase or PIN at a running enclave.

Whoever has the file can guess elsewhere: only the cost of Argon2id slows them. So nothing is
written to disk; the count is the enclave's.
"""

import math
import time
from collections.abc import Callable
from typing import Final

from bunker_signer.nse.errors import NSEError, NSEErrorCode

FREE: Final = 3  # failures before the first wait: typing errors
MAX_WAIT: Final = 300  # seconds


class Attempts:
    """Counts failures in a row; each one past the free ones doubles the wait before the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._not_before = -math.inf

    def check(self) -> None:
        """Raise NSEError while the wait lasts."""
        left = self._not_before - self._clock()
        if left > 0:
            raise NSEError(
                f"too many wrong attempts: wait {math.ceil(left)} s", NSEErrorCode.AUTH_FAILED
            )

    def failed(self) -> None:
        self._failures += 1
        if self._failures >= FREE:
            wait = min(2 ** min(self._failures - FREE, 16), MAX_WAIT)
            self._not_before = self._clock() + wait

    def succeeded(self) -> None:
        self._failures = 0
        self._not_before = -math.inf
