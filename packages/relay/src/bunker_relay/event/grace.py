"""The grace buffer: a signing request waits, in memory alone, for a signer that is waking up."""

from collections.abc import Iterable

from bunker_core.event import Event
from bunker_relay.config import Grace
from bunker_relay.event.hub import Subscription
from bunker_relay.event.limits import memory_of_event


class GraceBuffer:
    """Undelivered events of kind 24133, bounded in seconds and in bytes.

    Each is handed out at most once, and only to a subscription whose #p names its recipient.
    """

    def __init__(self, settings: Grace) -> None:
        """`settings` may be changed at any time; 0 seconds switches the buffer off."""
        self.settings = settings
        self.size = 0  # bytes
        self._events: dict[str, tuple[float, int, Event]] = {}  # id: (until, number, event)
        self._number = 0  # of the latest event held
        self._ids_by_p: dict[str, set[str]] = {}

    @property
    def is_on(self) -> bool:
        """Whether anything is held at all."""
        return self.settings.seconds > 0

    def hold(self, event: Event, now: float) -> bool:
        """Keep `event`, unless the buffer is off or full; `now` in seconds, any clock."""
        self._expire(now)
        settings = self.settings
        recipients = event.tag_values("p")
        if not settings.seconds or not recipients:
            return False
        if event.id in self._events:
            return True
        if self.size + memory_of_event(event) > settings.max_bytes:
            return False
        self._number += 1
        self._events[event.id] = (now + settings.seconds, self._number, event)
        self.size += memory_of_event(event)
        for pubkey in recipients:
            self._ids_by_p.setdefault(pubkey, set()).add(event.id)
        return True

    def hand_out(self, subscription: Subscription, now: float) -> list[Event]:
        """Return, and forget, what `subscription` wants, oldest first."""
        self._expire(now)
        if not self._events:
            return []
        named: set[str] = set()
        for item in subscription.filters:
            for pubkey in item.tag("p") or ():
                named |= self._ids_by_p.get(pubkey, set())
        found = self._live(named, now)
        handed = [event for _, _, event in found if subscription.wants(event)]
        for event in handed:
            self.drop(event.id)
        return handed

    def take(self, recipients: Iterable[str], now: float) -> list[tuple[Event, float]]:
        """Return, and forget, what is held for `recipients`, with the time that it came."""
        self._expire(now)
        named: set[str] = set()
        for pubkey in recipients:
            named |= self._ids_by_p.get(pubkey, set())
        found = self._live(named, now)
        for _, _, event in found:
            self.drop(event.id)
        return [(event, until - self.settings.seconds) for until, _, event in found]

    def drop(self, event_id: str) -> None:
        """Forget an event, if it is here."""
        found = self._events.pop(event_id, None)
        if found is None:
            return
        _, _, event = found
        self.size -= memory_of_event(event)
        for pubkey in event.tag_values("p"):
            ids = self._ids_by_p.get(pubkey)
            if ids is not None:
                ids.discard(event_id)
                if not ids:
                    del self._ids_by_p[pubkey]

    def _live(self, event_ids: Iterable[str], now: float) -> list[tuple[float, int, Event]]:
        """Return those that have not expired, oldest first.

        What was held again after another node had it keeps its own end, and stands behind others
        that end later; so does what was held before `settings` were changed.
        """
        found = [self._events[event_id] for event_id in event_ids]
        return sorted((entry for entry in found if entry[0] > now), key=lambda entry: entry[1])

    def _expire(self, now: float) -> None:
        expired = []
        for event_id, (until, _, _) in self._events.items():
            if until > now:
                break  # most end in the order of arrival; `_live` leaves out those that do not
            expired.append(event_id)
        for event_id in expired:
            self.drop(event_id)
