"""An event on its way to several relays, and what each of them answered."""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from bunker_core.event import Event
from bunker_core.messages import prefix

# Ours (`frame_limit.py`), and what relays say whose limit is on the event: "event too large" and
# "content too long" in several forms.
_TOO_LARGE: Final = re.compile(r"\btoo (large|big|long)\b", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One relay's OK. `reason` starts with a NIP-01 prefix when there is something to say."""

    relay_url: str
    accepted: bool
    reason: str

    @property
    def muted(self) -> bool:
        """Whether nobody was listening (NIP-01 `mute:`), accepted or not."""
        return prefix(self.reason) == "mute"

    @property
    def too_large(self) -> bool:
        """Whether the event is larger than the relay takes: not sent at all, or refused for it."""
        return not self.accepted and _TOO_LARGE.search(self.reason) is not None

    @property
    def woken(self) -> bool:
        """Whether the relay holds the event and has woken the signer, as ours says it."""
        return self.muted and "woken" in self.reason

    @property
    def delivered(self) -> bool:
        """Whether the relay took the event and somebody was there to get it, as far as it says."""
        return self.accepted and not self.muted


class Publication:
    """The receipts of one event, as they come in."""

    def __init__(
        self,
        event: Event,
        relay_urls: Iterable[str],
        forget: Callable[["Publication"], None],
        on_receipt: Callable[[Receipt], None] | None = None,
    ) -> None:
        self.event = event
        self.receipts: dict[str, Receipt] = {}
        self._awaited = set(relay_urls)
        self._forget = forget
        self._on_receipt = on_receipt
        self._changed: asyncio.Event | None = None  # made by who waits: most do not
        self._watcher: Callable[[], object] | None = None

    @property
    def complete(self) -> bool:
        """Whether every relay has answered."""
        return not self._awaited

    @property
    def awaited(self) -> frozenset[str]:
        """The relays that have not answered."""
        return frozenset(self._awaited)

    def record(self, receipt: Receipt) -> None:
        """Take a relay's answer."""
        self.receipts[receipt.relay_url] = receipt
        self.drop(receipt.relay_url)
        if self._on_receipt:
            self._on_receipt(receipt)

    def drop(self, relay_url: str) -> None:
        """Stop waiting for one relay."""
        self._awaited.discard(relay_url)
        if self._changed is not None:
            self._changed.set()
        if self._watcher is not None:
            self._watcher()

    def watch(self, watcher: Callable[[], object] | None) -> None:
        """Have `watcher` called after each change, instead of a task that waits; None ends it."""
        self._watcher = watcher

    def is_decided(self, any_of: Collection[str] | None = None) -> bool:
        """Tell whether a relay delivered, all refused, or one of `any_of` did."""
        if self.complete or any(receipt.delivered for receipt in self.receipts.values()):
            return True
        return any_of is not None and not self.receipts.keys().isdisjoint(any_of)

    async def delivered(
        self, timeout: float, any_of: Collection[str] | None = None
    ) -> Receipt | None:
        """Wait for the first relay that delivered; None when all refused or `timeout` is over.

        With `any_of` also when one of these relays has refused. Slow and dead relays go on being
        served in the background until `forget`.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self.is_decided(any_of):
                    await self._change()
            return next((item for item in self.receipts.values() if item.delivered), None)
        except TimeoutError:
            return None

    async def answered(self, timeout: float) -> dict[str, Receipt]:
        """Wait until every relay answered or `timeout` seconds are over; return what came."""
        try:
            async with asyncio.timeout(timeout):
                while not self.complete:
                    await self._change()
        except TimeoutError:
            pass
        return self.receipts

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        self._changed.clear()
        await self._changed.wait()

    def forget(self) -> None:
        """Stop sending the event to relays that have not answered."""
        self._forget(self)
