"""What the relay looks at once a second, whether anybody asks or not."""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bunker_core.local.systemd import notify, watchdog_interval
from bunker_relay.event.lists import ListsError
from bunker_relay.logs import log
from bunker_relay.store.outcome import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from bunker_relay.relay import Relay

_EVERY: Final = 10  # seconds between two notes that the relay is at work


class Watch:
    """Looks after one relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        # systemd's, or that of `bunker up`: no sign of life for so long, and it starts us again.
        self._watched = watchdog_interval() is not None
        self._looks = 0
        self._queries_failed = 0
        self._checking: asyncio.Future[str] | None = None

    def look(self) -> None:
        """Take what has changed beside the relay, and see what is over."""
        if self._watched:
            notify("WATCHDOG=1")
        relay = self._relay
        try:
            if relay.take_lists():
                log.info("took the changed lists")
        except ListsError as error:  # once for each change of the file
            log.error("kept the old lists", reason=str(error))
        if self._looks % _EVERY == 0:
            relay.clock.note(time.time())
        self._look_at_database()
        self._looks += 1

    def _look_at_database(self) -> None:
        """See whether a database in trouble still is, and one whose queries fail is in trouble."""
        relay = self._relay
        if self._checking is not None:
            if not self._checking.done():
                return
            if found := self._checking.result():
                relay.report_database(found)
            else:
                relay.troubles.over("database")
            self._checking = None
        failed = relay.counters.queries_failed
        if relay.database is not None and (
            relay.troubles.has("database") or failed > self._queries_failed
        ):
            loop = asyncio.get_running_loop()
            self._checking = loop.run_in_executor(None, _inspect, relay.database)
        self._queries_failed = failed


def _inspect(database: "Path | str") -> str:
    from bunker_relay.store.database.inspect import inspect

    try:
        return inspect(database)
    except StoreError as error:
        return str(error)
