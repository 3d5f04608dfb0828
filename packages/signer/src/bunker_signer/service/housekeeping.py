"""What a running signer sees to from time to time: idle keys, spare relays, old entries."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from bunker_core.errors import BunkerError
from bunker_core.pool import RelayPool
from bunker_signer.key.identity import Identity
from bunker_signer.process.logs import get_logger
from bunker_signer.request.handler import REMEMBER
from bunker_signer.request.refusals import Refusals
from bunker_signer.store import Database, audit_log, journal

# Seconds between rounds. A client that was told to move is served for one round more where it was;
# clients drop the old relays after 5 s.
ROUND: Final = 10.0
_SOON: Final = 0.02  # seconds between two looks at a key whose idle time is over

log = get_logger(__name__)


class Housekeeping:
    """Keeps house for a signer on `identities`, `database` and `pool`."""

    def __init__(
        self,
        identities: Sequence[Identity],
        database: Database,
        pool: RelayPool,
        refusals: Refusals,
        wanted_relays: Callable[[], Collection[str]],
        every_round: Callable[[], None],
        *,
        audit_days: int,
        clock: Callable[[], float],
    ) -> None:
        """Audit entries older than `audit_days` are let go; 0 keeps all.

        `wanted_relays` names those that are needed now; `every_round` is called once a round.
        """
        self._identities = identities
        self._database = database
        self._pool = pool
        self._refusals = refusals
        self._wanted_relays = wanted_relays
        self._every_round = every_round
        self._audit_days = audit_days
        self._clock = clock
        self._unwanted: set[str] = set()  # relays that were not needed a round ago

    async def run(self) -> None:
        """Do a round after each ROUND, and when a key's idle time is over, until cancelled."""
        while True:
            await asyncio.sleep(min([ROUND, *self._idle_times()]))
            try:
                for identity in self._identities:
                    identity.access.lock_if_idle()
                self._every_round()
                await self.leave_relays()
                self.let_go()
            except BunkerError as error:
                log.error("housekeeping failed", error=str(error))

    def end(self) -> None:
        """Write down what a round would have; raises StoreError."""
        now = int(self._clock())
        with self._database.write() as connection:
            for refused in self._refusals.due(now, all_of_them=True):
                refused.append(connection, now)

    async def leave_relays(self) -> None:
        """Leave relays that nobody needs, a round after they were found to be so."""
        unwanted = set(self._pool.relay_urls) - set(self._wanted_relays())
        leaving = unwanted & self._unwanted
        self._unwanted = unwanted - leaving
        for relay in leaving:
            await self._pool.remove_relay(relay)

    def let_go(self) -> None:
        """Write down refusals that are due, and forget what is old; raises StoreError."""
        now = int(self._clock())
        with self._database.write() as connection:
            for refused in self._refusals.due(now):
                refused.append(connection, now)
            journal.clean(connection, now, REMEMBER)
            if self._audit_days:
                audit_log.let_go(connection, now - self._audit_days * 86400)

    def _idle_times(self) -> list[float]:
        left = (identity.access.idle_left() for identity in self._identities)
        return [max(seconds, _SOON) for seconds in left if seconds is not None]
