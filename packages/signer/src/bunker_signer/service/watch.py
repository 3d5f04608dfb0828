"""What a signer does by itself for an owner who is not there.

Once a day it tells where the audit log's chain ends, in its log and to the notification hooks:
whoever rewrites the database later can't rewrite that. And if the owner chose it, it locks the keys
when nothing was heard of them for so many days (a dead man's switch).
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from bunker_core.errors import BunkerError
from bunker_signer.approvers.notify import Notice
from bunker_signer.key.access import SILENCE, KeyState
from bunker_signer.key.identity import Identity
from bunker_signer.process.logs import get_logger
from bunker_signer.process.plural import counted
from bunker_signer.store import Database, audit_log, settings

DAY: Final = 86400  # seconds
ROUND: Final = 60.0  # seconds between looks
_SEEN_EVERY: Final = 3600  # seconds: a sign of the owner is written down no more often than that
_TOLD: Final = "audit told"
_SEEN: Final = "owner seen"

log = get_logger(__name__)


class Watch:
    """Looks every minute. `silence` is in seconds; None never locks."""

    def __init__(
        self,
        identities: Iterable[Identity],
        database: Database,
        tell: Callable[[Notice], None],
        silence: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._identities = tuple(identities)
        self._database = database
        self._tell = tell
        self._silence = silence
        self._clock = clock
        self._seen_at = 0

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                self.look()
            except BunkerError as error:
                log.error("the watch failed", error=str(error))
            await asyncio.sleep(ROUND)

    def owner_seen(self) -> None:
        """Note a sign of the owner: a command, an answer, a visit that changes something."""
        now = int(self._clock())
        if self._silence is None or now < self._seen_at + _SEEN_EVERY:
            return
        self._seen_at = now
        with self._database.write() as connection:
            settings.set_number(connection, _SEEN, now)

    def look(self) -> None:
        """Do what is due. Raises StoreError."""
        self._tell_head()
        self._lock_if_silent()

    def _tell_head(self) -> None:
        now = int(self._clock())
        with self._database.read() as connection:
            told = settings.get_number(connection, _TOLD)
            entries, last = audit_log.head(connection)
        if now // DAY == told // DAY or not entries:
            return
        with self._database.write() as connection:
            settings.set_number(connection, _TOLD, now)
        # A warning, so that it is in the log of a service that shows no more.
        log.warning("audit log", entries=entries, last_hash=last)
        self._tell(
            Notice(
                "Nostr signer: audit log",
                f"{entries} entries, last hash {last}. To check it later: "
                f"bunker signer audit verify --expect {last}",
            )
        )

    def _lock_if_silent(self) -> None:
        if self._silence is None:
            return
        now = int(self._clock())
        with self._database.read() as connection:
            seen = settings.get_number(connection, _SEEN)
        if not seen:
            self.owner_seen()  # the switch was set just now
            return
        if now - seen < self._silence:
            return
        unlocked = [item for item in self._identities if item.state is not KeyState.LOCKED]
        for identity in unlocked:
            identity.access.lock(SILENCE)
        if unlocked:
            days = counted((now - seen) // DAY, "day")
            log.warning("keys locked: no sign of the owner", days=(now - seen) // DAY)
            self._tell(
                Notice(
                    "Nostr keys locked",
                    f"Nothing was heard of you for {days}, so the keys are locked, as you chose. "
                    "bunker signer unlock makes them usable again.",
                )
            )
