"""A request that is waited for: what is known of it, and how its task is woken."""

import asyncio
from typing import TYPE_CHECKING

from bunker_client.request.call import Call
from bunker_core.nips.nip46 import Response

if TYPE_CHECKING:
    from bunker_client.request.progress import Step
    from bunker_core.pool import Publication


class Pending:
    """A call and what the event loop keeps for it."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.publication: Publication | None = None
        self.tried: tuple[str, ...] = ()  # relays that may have seen the latest event
        self.response: Response | None = None
        self.shown: Step | None = None
        self.has_place = False
        self._fresh = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Have the call reviewed now."""
        self._fresh = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def settle(self, response: Response) -> None:
        """Take the first answer."""
        if self.response is None:
            self.response = response
            self.wake()

    async def news(self, timeout: float) -> None:
        """Wait until something happens, `timeout` seconds at most."""
        if not self._fresh:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(timeout, self.wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        self._fresh = False
