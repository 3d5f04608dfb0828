"""What can go wrong with a signer on demand: the switches that a test sets."""

import asyncio
import threading
import time
from dataclasses import dataclass
from enum import StrEnum


class FaultName(StrEnum):
    """What happens to the next response."""

    DELAY = "delay"  # it goes out `seconds` later
    DROP = "drop"  # it never goes out
    DUPLICATE = "duplicate"  # it goes out twice, as two events
    CORRUPT = "corrupt"  # its event is sound, its content can't be decrypted
    AUTH_URL = "auth_url"  # an auth challenge goes out first, and it waits for `agree`


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that waits for the response to a request of `method`, or to any."""

    name: FaultName
    method: str | None = None
    seconds: float = 0.0
    url: str = ""


class Faults:
    """The faults of one signer. Each of the first five meets one response, in their order."""

    def __init__(self) -> None:
        self._next: list[Fault] = []
        self._lock = threading.Lock()
        self._agreed = threading.Event()
        self.muted = False  # requests are read and left without an answer
        self.denying = False  # all that needs the key is denied, whatever was granted
        self.clock_skew = 0.0  # seconds that the signer's clock is ahead

    def delay(self, seconds: float, method: str | None = None) -> None:
        """Hold the next response back."""
        self.add(Fault(FaultName.DELAY, method, seconds=seconds))

    def drop(self, method: str | None = None) -> None:
        """Lose the next response; the signer has done its work."""
        self.add(Fault(FaultName.DROP, method))

    def duplicate(self, method: str | None = None) -> None:
        """Send the next response twice."""
        self.add(Fault(FaultName.DUPLICATE, method))

    def corrupt(self, method: str | None = None) -> None:
        """Damage the ciphertext of the next response."""
        self.add(Fault(FaultName.CORRUPT, method))

    def ask_auth_url(self, url: str, method: str | None = None) -> None:
        """Send the client to `url` first; the response waits until `agree` is called."""
        self._agreed.clear()
        self.add(Fault(FaultName.AUTH_URL, method, url=url))

    def agree(self) -> None:
        """Let the requests go on that wait for their user at an auth_url."""
        self._agreed.set()

    def mute(self, on: bool = True) -> None:
        """Read requests and answer none, as a signer that the phone put to sleep."""
        self.muted = on

    def deny(self, on: bool = True) -> None:
        """Deny whatever needs the key."""
        self.denying = on

    def skew_clock(self, seconds: float) -> None:
        """Set the signer's clock this far ahead; negative is behind."""
        self.clock_skew = seconds

    def clear(self) -> None:
        """Have no faults any more."""
        with self._lock:
            self._next.clear()
        self._agreed.set()
        self.muted = self.denying = False
        self.clock_skew = 0.0

    def add(self, fault: Fault) -> None:
        """Let `fault` meet the next response that it fits."""
        with self._lock:
            self._next.append(fault)

    def waiting(self) -> tuple[Fault, ...]:
        """Return the faults that have met no response yet."""
        with self._lock:
            return tuple(self._next)

    def take(self, method: str) -> Fault | None:
        """Return, and forget, the first fault for a response to `method`; no auth_url."""
        return self._take(method, auth_url=False)

    def take_auth_url(self, method: str) -> Fault | None:
        """Return, and forget, the first auth_url for a request of `method`."""
        return self._take(method, auth_url=True)

    def clock(self) -> float:
        """Return the time as the signer has it."""
        return time.time() + self.clock_skew

    async def agreement(self) -> None:
        """Wait for `agree`."""
        # a thread's event, because `agree` is called from another one
        await asyncio.to_thread(self._agreed.wait)

    def _take(self, method: str, *, auth_url: bool) -> Fault | None:
        with self._lock:
            for index, fault in enumerate(self._next):
                fits = fault.method in (None, method)
                if fits and auth_url is (fault.name is FaultName.AUTH_URL):
                    return self._next.pop(index)
        return None
