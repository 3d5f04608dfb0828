"""What the relay looks at once a second, whether anybody asks or not."""

from typing import TYPE_CHECKING

from bunker_relay.event.lists import ListsError
from bunker_relay.logs import log

if TYPE_CHECKING:
    from bunker_relay.relay import Relay


class Watch:
    """Looks after one relay."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def look(self) -> None:
        """Take what has changed beside the relay."""
        try:
            if self._relay.take_lists():
                log.info("took the changed lists")
        except ListsError as error:  # once for each change of the file
            log.error("kept the old lists", reason=str(error))
