"""How many requests of one client are on the way at a time; the others wait for a place."""

import asyncio
from typing import Final

from bunker_client.errors import RequestTimeout

# Whoever asks for a thousand signatures at once would otherwise fill the relay's buffer for the
# signer, which then closes that connection, and have every request asked for again before it was
# answered.
AT_ONCE: Final = 32


class Places:
    """AT_ONCE places, taken in the order in which requests came."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    async def take(self, method: str, total: float | None, now: float) -> float:
        """Wait for a place, `total` seconds at most; return when the time of the request began.

        That is `now`, by the event loop's clock, or the end of the wait when it has no limit.
        Raises RequestTimeout.
        """
        if not self._free.locked():
            await self._free.acquire()
            return now
        try:
            async with asyncio.timeout(total):
                await self._free.acquire()
        except TimeoutError:
            why = "the requests before it are not answered"
            raise RequestTimeout(method, total or 0.0, why) from None
        return now if total is not None else asyncio.get_running_loop().time()

    def give_back(self) -> None:
        """Let the next one in."""
        self._free.release()
