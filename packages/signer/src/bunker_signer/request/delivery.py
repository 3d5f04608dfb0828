"""Seeing replies home: retried until a relay delivers, at once when there is hope."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from bunker_core.bounds.recent import Recent
from bunker_core.messages import prefix
from bunker_core.pool import Publication, RelayPool
from bunker_signer.process.logs import get_logger
from bunker_signer.process.metrics import Metrics
from bunker_signer.request.reply import Reply

RECEIPT_TIMEOUT: Final = 3.0  # seconds that a relay has for its OK
RECONNECT_TIMEOUT: Final = 0.5  # seconds to come back, when no relay is connected
PATIENCE: Final = 30.0  # seconds more that it has if it is connected and silent
# Pauses before a reply is sent again, in seconds, when no relay delivered it.
RETRIES: Final = (0.2, 0.5, 1.0, 2.0, 3.0)
# Then it is kept and sent again at growing intervals: rust-nostr takes ten seconds to come back to
# a relay that was down, NDK up to a minute, and neither says anything when it listens again.
LATER: Final = 4.0  # seconds
GROWTH: Final = 1.3
# A relay limits how much one pubkey sends, and ours answers for all clients: so many replies are
# on their way at a time, and one that was too much is sent again after so many seconds.
IN_FLIGHT: Final = 64
TOO_MUCH: Final = 1.0
PARKED: Final = 1024  # undelivered replies that wait for a relay to come back
PARKED_FOR: Final = 600.0  # seconds
# Seconds that a relay which was down has to come back and get a reply that another one delivered.
LINGER: Final = 60.0

log = get_logger(__name__)


@dataclass(slots=True)
class _Parked:
    """A reply that no relay delivered."""

    reply: Reply
    since: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Courier:
    """Publishes replies on our relays and those of their clients."""

    def __init__(
        self,
        pool: RelayPool,
        own: Callable[[], tuple[str, ...]],
        on_delivered: Callable[[Reply], None],
        *,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._pool = pool
        self._own = own
        self._on_delivered = on_delivered
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._sleep = sleep
        self._parked: Recent[_Parked] = Recent(PARKED)
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()

    async def deliver(self, reply: Reply) -> bool:
        """Send `reply` until a relay has delivered it; return whether one has.

        One that could not be delivered is kept and tried again now and then, and as soon as
        `relay_opened` or `heard_of` gives hope.
        """
        if await self._try(reply):
            return True
        log.warning("reply undelivered", client=reply.client_pubkey)
        self._metrics.sent(delivered=False)
        if reply.digest or reply.response.error is None:  # else a stranger's, or soon asked again
            parked = _Parked(reply, self._clock())
            given_up = self._parked.put(self._name(reply), parked)
            if given_up:
                given_up.wake.set()
            self._spawn(self._keep_trying(parked))
        return False

    def relay_opened(self, relay_url: str) -> None:
        """Try once more what could not be delivered and may go by this relay."""
        self._wake(lambda reply: relay_url in self._targets(reply))

    def heard_of(self, client_pubkey: str) -> None:
        """Try once more what could not be delivered to a client that is there again."""
        self._wake(lambda reply: reply.client_pubkey == client_pubkey)

    async def close(self) -> None:
        """Stop; what is undelivered is in the journal."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wake(self, wanted: Callable[[Reply], bool]) -> None:
        for parked in self._parked.values():
            if wanted(parked.reply):
                parked.wake.set()

    async def _try(self, reply: Reply) -> bool:
        for pause in (*RETRIES, None):
            if await self._attempt(reply):
                return True
            if pause is not None:
                await self._sleep(pause)
        return False

    async def _attempt(self, reply: Reply) -> bool:
        """Send once; as long as a relay says that it is too much at once, wait and send again."""
        since = self._clock()
        async with self._slots:
            while True:
                publication = await self._publish(reply)
                if publication is None:
                    return True
                reasons = {prefix(item.reason) for item in publication.receipts.values()}
                if "rate-limited" not in reasons or self._clock() - since > PARKED_FOR:
                    return False
                await self._sleep(TOO_MUCH)

    async def _publish(self, reply: Reply) -> Publication | None:
        """Return None when a relay has delivered the reply, else what they said."""
        targets = self._targets(reply)
        publication = self._pool.publish(reply.seal(int(self._clock())), targets)
        open_now = any(url in targets for url in self._pool.open_relays)
        receipt = await publication.delivered(RECEIPT_TIMEOUT if open_now else RECONNECT_TIMEOUT)
        if receipt is None and not publication.receipts and open_now:
            # Nobody has refused it: the relay is busy, and would be more so with it sent twice.
            receipt = await publication.delivered(PATIENCE)
        if receipt is None:
            publication.forget()
            return publication
        self._metrics.sent(delivered=True)
        self._on_delivered(reply)
        if publication.complete or len(self._tasks) >= PARKED:
            publication.forget()
        else:
            self._spawn(self._linger(publication))
        return None

    async def _keep_trying(self, parked: _Parked) -> None:
        """Try again at growing intervals, and a few times when there is hope."""
        name, pause = self._name(parked.reply), LATER
        while self._clock() - parked.since <= PARKED_FOR:
            woken = await self._woken(parked, pause)
            pause *= GROWTH
            if not self._parked.holds(name, parked):
                return  # given up for others, or sent anew
            # A few times: the client may take longer to come back than we do.
            if await (self._try(parked.reply) if woken else self._attempt(parked.reply)):
                break
        if self._parked.holds(name, parked):
            self._parked.pop(name)

    async def _woken(self, parked: _Parked, seconds: float) -> bool:
        """Return True as soon as there is hope, False after `seconds` without."""
        waiting = [
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.ensure_future(parked.wake.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for item in waiting:
                item.cancel()
        woken = parked.wake.is_set()
        parked.wake.clear()
        return woken

    async def _linger(self, publication: Publication) -> None:
        """Let the relays that were slow, or away, have the reply too."""
        try:
            await publication.answered(LINGER)
        finally:
            publication.forget()

    def _targets(self, reply: Reply) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._own(), *reply.relays)))

    def _name(self, reply: Reply) -> str:
        return f"{reply.client_pubkey}:{reply.response.id}:{reply.digest}"

    def _spawn(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
