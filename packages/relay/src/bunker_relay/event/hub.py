"""The hub: which open subscriptions want an event, found through an index and never by a scan."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import orjson

from bunker_core.event import Event
from bunker_core.filter import Filter

_SUBSCRIPTION: Final = 1_024  # bytes, and so are these; measured with many of each
_FILTER: Final = 512
_VALUE: Final = 512  # beside its characters
_HELD: Final = 200  # what an event that is held takes beside its JSON


class Sink(Protocol):
    """Where a subscription's frames go; all of it at once, nothing waits."""

    def put(self, frame: bytes) -> None:
        """Take a whole frame."""

    def reserve(self, size: int) -> None:
        """Count `size` bytes that are held back for later, or with a minus give them back."""


class Room(Protocol):
    """Where a subscription asks for memory."""

    def hold(self, subscription: "Subscription", size: int) -> bool:
        """Grant `size` bytes, or end `subscription` and return False."""

    def let_go(self, size: int) -> None:
        """Take back `size` bytes."""


class Subscription:
    """One open REQ: its filters, and where its frames go.

    Until `release`, live events are held: the stored ones go first. `serial` grows with every
    subscription, so that an event that is published again reaches only those that came later.
    """

    __slots__ = (
        "_held",
        "_prefix",
        "_room",
        "_sees",
        "_sink",
        "closed",
        "filters",
        "id",
        "serial",
        "size",
    )

    def __init__(
        self,
        subscription_id: str,
        filters: tuple[Filter, ...],
        sink: Sink,
        sees: Callable[[Event, Filter], bool],
        room: "Room | None" = None,
    ) -> None:
        """`sees` tells whether this client may have an event that a filter matches.

        `room` is where it asks for the memory of what it holds back.
        """
        self.id = subscription_id
        self.filters = filters
        self.size = memory_of(filters)  # bytes
        self._sink = sink
        self._room = room
        self.serial = 0  # set by the hub
        self.closed = False
        self._held: dict[str, bytes] | None = {}  # JSON by event id, while the stored ones are sent
        self._sees = sees
        self._prefix = b'["EVENT",' + orjson.dumps(subscription_id) + b","

    def wants(self, event: Event) -> bool:
        """Tell whether any filter matches an event that this client may have."""
        return self.sees(event, [item for item in self.filters if item.matches(event)])

    def sees(self, event: Event, matching: Iterable[Filter]) -> bool:
        """Tell whether this client may have an event that the filters in `matching` match."""
        return any(self._sees(event, item) for item in matching)

    def frame(self, event_json: bytes) -> bytes:
        """Return what carries an event to this subscription, and to all others with its id."""
        return self._prefix + event_json + b"]"

    def send(self, event_id: str, event_json: bytes, frame: bytes) -> None:
        """Send a live event as its `frame`, or hold it while the stored ones are on their way."""
        if self._held is None:
            self._sink.put(frame)
        elif event_id not in self._held:
            size = len(event_json)
            if self._room is not None and not self._room.hold(self, size + _HELD):
                return
            self._held[event_id] = event_json
            self._sink.reserve(size)

    def send_stored(self, event_json: bytes) -> None:
        """Send a stored event."""
        self._sink.put(self.frame(event_json))

    def release(self, sent: Iterable[str]) -> None:
        """Send what was held, less the ids already `sent`, and from now on send at once."""
        held, self._held = self._held or {}, None
        self._give_back(held)
        if not held:
            return
        for event_id in sent:
            held.pop(event_id, None)
        for event_json in held.values():
            self._sink.put(self.frame(event_json))

    def end(self) -> None:
        """Drop what is held; nothing is sent any more."""
        self.closed = True
        if self._held:
            self._give_back(self._held)
            self._held = {}

    def _give_back(self, held: dict[str, bytes]) -> None:
        if held:
            size = sum(map(len, held.values()))
            self._sink.reserve(-size)
            if self._room is not None:
                self._room.let_go(size + _HELD * len(held))


def memory_of(filters: Iterable[Filter]) -> int:
    """Return the bytes that a subscription with `filters` takes, roughly and never too few.

    A value stands in its filter, in the index and, where other nodes are told of it, in a topic.
    """
    size = _SUBSCRIPTION
    for item in filters:
        size += _FILTER
        for values in (item.ids, item.authors, *(values for _, values in item.tags)):
            if values is not None:
                size += _VALUE * len(values) + sum(map(len, values))
        if item.kinds is not None:
            size += _VALUE * len(item.kinds)
    return size


class Audience:
    """Subscriptions with the same id and filters, such as those of all readers of one app.

    What is the same for all of them is looked at once an event: filters and frame.
    """

    __slots__ = ("filters", "members")

    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self.filters = filters
        self.members: set[Subscription] = set()


_Table = dict[object, set[Audience]]


class Hub:
    """All open subscriptions of the process.

    Each filter is entered under one of its conditions, the one that selects most: a tag, else
    ids, else authors, else kinds. An event looks up its own values alone.
    """

    def __init__(
        self, is_open: Callable[[Event, Filter], bool] = lambda _event, _filter: False
    ) -> None:
        """`is_open` tells whether anyone may have an event that a filter matches.

        Where it does not, each subscription is asked whether its client may.
        """
        self._is_open = is_open
        self._audiences: dict[tuple[str, tuple[Filter, ...]], Audience] = {}
        self._tags: _Table = {}
        self._ids: _Table = {}
        self._authors: _Table = {}
        self._kinds: _Table = {}
        self._any: _Table = {}
        self.subscriptions = 0
        self.serial = 0  # of the latest subscription

    def add(self, subscription: Subscription) -> None:
        """Enter `subscription`; from now on it gets what it wants."""
        name = subscription.id, subscription.filters
        audience = self._audiences.get(name)
        if audience is None:
            audience = self._audiences[name] = Audience(subscription.filters)
            for table, key in self._slots(subscription.filters):
                table.setdefault(key, set()).add(audience)
        audience.members.add(subscription)
        self.serial += 1
        subscription.serial = self.serial
        self.subscriptions += 1

    def remove(self, subscription: Subscription) -> None:
        """Take `subscription` out and end it."""
        if subscription.closed:
            return
        subscription.end()
        self.subscriptions -= 1
        name = subscription.id, subscription.filters
        audience = self._audiences[name]
        audience.members.discard(subscription)
        if audience.members:
            return
        del self._audiences[name]
        for table, key in self._slots(subscription.filters):
            found = table.get(key)
            if found is not None:
                found.discard(audience)
                if not found:
                    del table[key]

    def publish(self, event: Event, after: int = 0) -> int:
        """Send `event` to every subscription that wants it and return how many those are.

        Subscriptions with a serial up to `after` have had it before and are left out. Never
        waits for a subscriber.
        """
        event_json: bytes | None = None
        receivers = 0
        for audience in self._candidates(event):
            matching = [item for item in audience.filters if item.matches(event)]
            if not matching:
                continue
            is_open = any(self._is_open(event, item) for item in matching)
            frame: bytes | None = None
            for subscription in tuple(audience.members):  # closing a slow client changes the set
                # ... and takes its other subscriptions with it.
                if subscription.serial <= after or subscription.closed:
                    continue
                if not is_open and not subscription.sees(event, matching):
                    continue
                if event_json is None:
                    event_json = event.to_json()  # once a publish, whatever the audience
                if frame is None:
                    frame = subscription.frame(event_json)
                subscription.send(event.id, event_json, frame)
                receivers += 1
        return receivers

    def _candidates(self, event: Event) -> Iterable[Audience]:
        found: list[set[Audience]] = []
        # An empty table is the rule, and costs nothing: remote signing is entered under its #p.
        if self._tags:
            for tag in event.tags:
                if len(tag) > 1:
                    audiences = self._tags.get((tag[0], tag[1]))
                    if audiences is not None:
                        found.append(audiences)
        if self._kinds and (audiences := self._kinds.get(event.kind)) is not None:
            found.append(audiences)
        if self._authors and (audiences := self._authors.get(event.pubkey)) is not None:
            found.append(audiences)
        if self._ids and (audiences := self._ids.get(event.id)) is not None:
            found.append(audiences)
        if self._any:
            found.append(self._any[None])
        if not found:
            return ()
        if len(found) == 1:
            return tuple(found[0])  # a copy: closing a slow client changes the set
        return set().union(*found)

    def _slots(self, filters: Iterable[Filter]) -> Iterable[tuple[_Table, object]]:
        """Name the places in the index where an audience with `filters` is entered."""
        for item in filters:
            if item.never:
                continue
            if item.tags:
                name, values = min(item.tags, key=lambda pair: len(pair[1]))
                for value in values:
                    yield self._tags, (name, value)
            elif item.ids is not None:
                for event_id in item.ids:
                    yield self._ids, event_id
            elif item.authors is not None:
                for pubkey in item.authors:
                    yield self._authors, pubkey
            elif item.kinds is not None:
                for kind in item.kinds:
                    yield self._kinds, kind
            else:
                yield self._any, None
