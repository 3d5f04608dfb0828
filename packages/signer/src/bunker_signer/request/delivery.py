"""Seeing replies home: retried until a relay delivers, at once when there is hope.

A first try is one of so many in flight (`fair_semaphore.py`) until one of our own relays answers.
All waiting is done outside of it: for a relay that a client brought along, for one that refuses,
for a client that comes back. What is not delivered at once is kept (`parked.py`), so much for each
client.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Final

from bunker_core.errors import BunkerError
from bunker_core.messages import prefix
from bunker_core.pool import Publication, RelayPool
from bunker_signer.process.logs import get_logger
from bunker_signer.process.metrics import Metrics
from bunker_signer.request.fair_semaphore import FairSemaphore
from bunker_signer.request.parked import ALL, Parked, ParkingLot
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
# on their way at a time, in all and of one client. What was too much for one of our own relays is
# sent again after so many seconds, so many of them at a time.
IN_FLIGHT: Final = 64
IN_FLIGHT_EACH: Final = 32
TOO_MUCH: Final = 1.0
HELD_BACK: Final = 32
HELD_BACK_EACH: Final = 8
# Of what one client did not take so many are tried again at a time, and the others follow as soon
# as one arrives: sent again by the hundred they would use up what a relay lets us send to anybody.
AGAIN_EACH: Final = 8
PARKED_FOR: Final = 600.0  # seconds
# Seconds that a relay which was down has to come back and get a reply that another one delivered.
LINGER: Final = 60.0
LINGERING: Final = 1024  # replies that do so at a time

log = get_logger(__name__)


class _Outcome(Enum):
    """What became of a try."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # or not answered: try again
    TOO_MUCH = "rate-limited"  # by one of our own relays
    TOO_LARGE = "too large"  # for every relay that there is


class Courier:
    """Publishes replies on our relays and those of their clients."""

    def __init__(
        self,
        pool: RelayPool,
        own: Callable[[], tuple[str, ...]],
        on_delivered: Callable[[Reply], None],
        on_too_large: Callable[[Reply, str], Awaitable[Reply | None]],
        *,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        corrected: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`on_too_large` takes a reply that no relay carries, and why; returns what goes instead.

        It sees to it that nobody sends the reply again. `corrected` is the clock by which events
        are dated.
        """
        self._pool = pool
        self._own = own
        self._on_delivered = on_delivered
        self._on_too_large = on_too_large
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._corrected = corrected or clock
        self._sleep = sleep
        self._parked = ParkingLot()
        self._in_flight = FairSemaphore(IN_FLIGHT, IN_FLIGHT_EACH)
        self._held_back = FairSemaphore(HELD_BACK, HELD_BACK_EACH)
        self._again = FairSemaphore(ALL, AGAIN_EACH)  # as many as are kept: by client alone
        self._closed = False
        self._trying: dict[Parked, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, reply: Reply, tried: Callable[[], object] = lambda: None) -> None:
        """Try once; what no relay of ours delivers is seen to beside, and kept for a while.

        Then it is tried now and then, and as soon as `relay_opened` or `heard_of` gives hope.
        `tried` is called when the first try is over. No task waits for that, unless there are too
        many in flight.
        """
        if self._in_flight.try_acquire(reply.client_pubkey):
            self._try_first(reply, tried)
        else:
            self._spawn(self._try_in_turn(reply, tried))

    async def _try_in_turn(self, reply: Reply, tried: Callable[[], object]) -> None:
        await self._in_flight.acquire(reply.client_pubkey)
        self._try_first(reply, tried)

    def _try_first(self, reply: Reply, tried: Callable[[], object]) -> None:
        """Send, being in flight, and go on when one of our own relays has answered."""
        try:
            event = reply.event(int(self._corrected()))
            publication = self._pool.publish(event, self._targets(reply))
        except Exception as error:  # noqa: BLE001 -- one reply must not cost the others
            _tell_failure(reply, error)
            self._in_flight.release(reply.client_pubkey)
            tried()
            return
        own = self._own_open()

        def look() -> None:
            if publication.is_decided(own):
                timer.cancel()
                over()

        def over() -> None:
            publication.watch(None)
            self._in_flight.release(reply.client_pubkey)
            try:
                if not self._closed and not self._is_delivered(reply, publication):
                    self._keep(reply, publication)
            except Exception as error:  # noqa: BLE001 -- as above
                _tell_failure(reply, error)
            finally:
                tried()

        if not own or publication.is_decided(own):
            over()
        else:
            timer = asyncio.get_running_loop().call_later(RECEIPT_TIMEOUT, over)
            publication.watch(look)

    def _keep(self, reply: Reply, publication: Publication) -> None:
        """Park a reply that the first try did not deliver, and have a task see to it."""
        parked = Parked(reply.afresh(), self._clock())
        task = self._spawn(self._keep_trying(parked, publication))
        self._trying[parked] = task

        def done(_: object) -> None:  # also when it was given up before it began
            if not task.cancelled() and (error := task.exception()):
                _tell_failure(reply, error)
            publication.forget()
            self._parked.drop(parked)
            del self._trying[parked]

        task.add_done_callback(done)
        for given_up in self._parked.put(parked):
            self._trying[given_up].cancel()

    async def deliver(self, reply: Reply) -> bool:
        """Try a few times, within seconds; return whether a relay delivered it. Nothing is kept."""
        for pause in (*RETRIES, None):
            publication = await self._publish(reply)
            if (await self._outcome(reply, publication))[0] is _Outcome.DELIVERED:
                return True
            reply = reply.afresh()
            if pause is not None:
                await self._sleep(pause)
        return False

    def relay_opened(self, relay_url: str) -> None:
        """Try once more what could not be delivered and may go by this relay."""
        for parked in self._parked.next_of_each():
            if relay_url in self._targets(parked.reply):
                parked.wake.set()

    def heard_of(self, client_pubkey: str) -> None:
        """Try once more what could not be delivered to a client that is there again.

        One of all: with its arrival the others go out, without it they would all be in vain.
        """
        parked = self._parked.next_of(client_pubkey)
        if parked is not None:
            parked.wake.set()

    async def close(self) -> None:
        """Stop; what is undelivered is in the journal."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _publish(self, reply: Reply) -> Publication:
        """Send, and be in flight until one of our own relays has answered."""
        await self._in_flight.acquire(reply.client_pubkey)
        try:
            event = reply.event(int(self._corrected()))
            publication = self._pool.publish(event, self._targets(reply))
            if own := self._own_open():
                try:
                    await publication.delivered(RECEIPT_TIMEOUT, any_of=own)
                except BaseException:  # given up: nobody else would let go of it
                    publication.forget()
                    raise
        finally:
            self._in_flight.release(reply.client_pubkey)
        return publication

    def _is_delivered(self, reply: Reply, publication: Publication) -> bool:
        """Tell whether a relay has delivered a reply; if so, note it."""
        if not any(item.delivered for item in publication.receipts.values()):
            return False
        self._metrics.sent(delivered=True)
        self._on_delivered(reply)
        for parked in self._parked.of(reply.client_pubkey):
            parked.wake.set()  # where one arrived, the others will
        if publication.complete or len(self._tasks) >= LINGERING:
            publication.forget()
        else:
            self._spawn(self._linger(publication))
        return True

    async def _outcome(self, reply: Reply, publication: Publication) -> tuple[_Outcome, str]:
        """Wait for the relays; return what became of it, and their words if it was too large."""
        try:
            await self._wait(publication, self._targets(reply))
            if self._is_delivered(reply, publication):
                return _Outcome.DELIVERED, ""
        except BaseException:
            publication.forget()
            raise
        complete, receipts = publication.complete, publication.receipts
        publication.forget()
        too_large = [item.reason for item in receipts.values() if item.too_large]
        if too_large:
            everywhere = complete and len(too_large) == len(receipts)
            return _Outcome.TOO_LARGE if everywhere else _Outcome.REFUSED, too_large[0]
        # A relay that a client brought along has no say in what we do with our time.
        said = [prefix(receipts[url].reason) for url in self._own() if url in receipts]
        return _Outcome.TOO_MUCH if "rate-limited" in said else _Outcome.REFUSED, ""

    async def _attempt(self, reply: Reply) -> tuple[_Outcome, str]:
        return await self._outcome(reply, await self._publish(reply))

    async def _wait(self, publication: Publication, targets: tuple[str, ...]) -> None:
        """Wait until a relay has delivered; nobody else waits for it."""
        open_now = any(url in targets for url in self._pool.open_relays)
        timeout = RECEIPT_TIMEOUT if open_now else RECONNECT_TIMEOUT
        receipt = await publication.delivered(timeout)
        if receipt is None and not publication.receipts and open_now:
            # Nobody has refused it: the relay is busy, and would be more so with it sent twice.
            await publication.delivered(PATIENCE)

    async def _keep_trying(self, parked: Parked, publication: Publication) -> None:
        """See the first try to its end, and what it did not achieve to the next ones."""
        outcome, reason = await self._outcome(parked.reply, publication)
        if outcome is _Outcome.TOO_LARGE:
            self._parked.drop(parked)
            await self._replace(parked.reply, reason)
        elif outcome is not _Outcome.DELIVERED:
            await self._again.acquire(parked.reply.client_pubkey)
            parked.retrying = True
            try:
                await self._try_again(parked, outcome, reason)
            finally:
                self._again.release(parked.reply.client_pubkey)

    async def _try_again(self, parked: Parked, outcome: _Outcome, reason: str) -> None:
        """Try at growing intervals, and a few times in a row when there is hope."""
        quick, pause, told = list(RETRIES), LATER, False
        while outcome is not _Outcome.DELIVERED and self._in_time(parked):
            if outcome is _Outcome.TOO_LARGE or (reason and not quick):
                self._parked.drop(parked)
                await self._replace(parked.reply, reason)
                return
            if outcome is _Outcome.TOO_MUCH:
                await self._held_back.acquire(parked.reply.client_pubkey)
                try:
                    await self._sleep(TOO_MUCH)
                    outcome, reason = await self._attempt(parked.reply)
                finally:
                    self._held_back.release(parked.reply.client_pubkey)
                continue
            if quick:
                now = quick.pop(0)
            else:
                if not told and not self._tell(parked.reply):
                    return
                told, now, pause = True, pause, pause * GROWTH
            if await self._woken(parked, now):
                quick = list(RETRIES)  # the client may take longer to come back than we do
            outcome, reason = await self._attempt(parked.reply)

    def _in_time(self, parked: Parked) -> bool:
        return self._clock() - parked.since <= PARKED_FOR

    def _tell(self, reply: Reply) -> bool:
        """Say that a reply is undelivered; return whether it is worth keeping.

        A stranger's refusal is not, nor an error that is soon asked for again.
        """
        log.warning("reply undelivered", client=reply.client_pubkey)
        self._metrics.sent(delivered=False)
        return bool(reply.digest) or reply.response.error is None

    async def _replace(self, reply: Reply, reason: str) -> None:
        """Tell the client that its answer can't be carried; the answer is not sent again."""
        log.warning("reply too large", client=reply.client_pubkey, reason=reason)
        instead = await self._on_too_large(reply, reason)
        if instead is not None:
            self.send(instead)

    async def _woken(self, parked: Parked, seconds: float) -> bool:
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

    def _own_open(self) -> list[str]:
        """Return those of our own relays that are connected."""
        return [url for url in self._own() if url in self._pool.open_relays]

    def _targets(self, reply: Reply) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._own(), *reply.relays)))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _tell_failure(reply: Reply, error: BaseException) -> None:
    # The type alone, unless it is ours: a text could repeat what was signed.
    said = str(error) if isinstance(error, BunkerError) else type(error).__name__
    log.error("reply failed", client=reply.client_pubkey, error=said)
