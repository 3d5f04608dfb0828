"""Locking an enclave that nobody has used for a while."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager


class AutoLock:
    """Calls `lock` once `timeout` seconds have passed since the last `touch`.

    One sleeping thread at most, whatever the number of touches: when it wakes too early it sleeps
    for the rest. It works under `guard`, the enclave's own lock, as all callers do.
    """

    def __init__(
        self,
        timeout: float,
        lock: Callable[[], None],
        guard: AbstractContextManager[object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._lock = lock
        self._guard = guard
        self._clock = clock
        self._touched = clock()
        self._timer: threading.Timer | None = None

    @property
    def expired(self) -> bool:
        """Whether the time is over, for the caller that comes before the thread does."""
        return self._timer is not None and self._clock() - self._touched >= self._timeout

    def touch(self) -> None:
        """Count from now on."""
        self._touched = self._clock()
        if self._timer is None:
            self._start(self._timeout)

    def cancel(self) -> None:
        """Stop the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._wake)
        self._timer.name = "nse-auto-lock"
        self._timer.daemon = True
        self._timer.start()

    def _wake(self) -> None:
        with self._guard:
            if self._timer is not threading.current_thread():
                return  # cancelled while it waited for the guard
            left = self._timeout - (self._clock() - self._touched)
            if left > 0:
                self._start(left)
            else:
                self._timer = None
                self._lock()
