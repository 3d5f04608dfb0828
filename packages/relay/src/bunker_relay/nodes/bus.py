"""The bus: how the processes that are one relay together hear of each other's events.

A node is one such process. It says which topics its subscriptions want, and hears these alone.
`Alone` is one process by itself, `mesh.Mesh` the workers of one machine, `nats_bus.Nats` several
machines, `Buses` both of these at once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from bunker_core.event import Event, is_hex
from bunker_core.filter import Filter

# Seconds for which a node goes on to hear what nobody wants: a REQ that is sent again takes no way
# to the others, and misses nothing.
LINGER: Final = 5.0
MAX_WAKING: Final = 1_000  # pubkeys in one message of a node where somebody subscribed
# In a filter, beyond which a node hears every kind of a recipient: a topic takes memory.
_MAX_KINDS: Final = 16
_MAX_PAIRS: Final = 256  # of kind and recipient, where there are several kinds

# How many subscriptions elsewhere got an event; or HAD_IT when none is new to it, but some had it;
# or UNKNOWN when it went out and a node that may have somebody for it has not answered.
Answer = Callable[[int], None]
HAD_IT: Final = -1
UNKNOWN: Final = -2
_RANKS: Final = {0: 0, UNKNOWN: 1, HAD_IT: 2}  # of bad news: which one is told


class Node(Protocol):
    """What a bus needs of the process that it serves."""

    def receive(self, event: Event, *, trusted: bool) -> int:
        """Deliver an event that another node took, and return an `Answer`.

        It may come more than once, on several topics that this node wants. Whether id and
        signature hold is to be seen here unless it is `trusted`. Raises InvalidEvent.
        """

    async def told(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take what another node tells or asks, and return what it is to know."""

    async def announced(self) -> None:
        """Return when every event that is stored by now has been given to `Bus.publish`."""


class Bus(Protocol):
    """The other nodes."""

    alone: bool  # whether there are no other nodes at all

    @property
    def settled(self) -> bool:
        """Whether the others know of all that this node listens to."""

    @property
    def gauges(self) -> dict[str, float]:
        """What goes up and down, for metrics."""

    async def open(self) -> None:
        """Join the others."""

    async def close(self) -> None:
        """Leave them."""

    def publish(self, event: Event, answer: Answer | None) -> bool:
        """Give an event to the nodes that want it.

        Returns whether any may: then `answer` is called once, later. Never waits.
        """

    def listen(self, filters: Iterable[Filter]) -> None:
        """Hear what `filters` want from now on; `settle` tells when that is known."""

    def forget(self, filters: Iterable[Filter]) -> None:
        """End one `listen`."""

    async def settle(self) -> None:
        """Wait until the others know what this node wants, and what they stored so far is here.

        In bounded time: a node that does not answer is not waited for.
        """

    def tell(self, message: dict[str, Any]) -> None:
        """Send every other node a message."""


class Alone:
    """No other nodes."""

    alone = True
    settled = True

    @property
    def gauges(self) -> dict[str, float]:
        """Nothing."""
        return {}

    async def open(self) -> None:
        """Nothing to join."""

    async def close(self) -> None:
        """Nothing to leave."""

    def publish(self, event: Event, answer: Answer | None) -> bool:  # noqa: ARG002
        """Nobody else wants it."""
        return False

    def listen(self, filters: Iterable[Filter]) -> None:
        """Nobody to hear."""

    def forget(self, filters: Iterable[Filter]) -> None:
        """Nobody to hear."""

    async def settle(self) -> None:
        """All is known."""

    def tell(self, message: dict[str, Any]) -> None:
        """Nobody is there."""


class Buses:
    """Several ways to other nodes, none of which is on two of them."""

    alone = False

    def __init__(self, *parts: Bus) -> None:
        self._parts = parts

    @property
    def settled(self) -> bool:
        """Whether all know."""
        return all(part.settled for part in self._parts)

    @property
    def gauges(self) -> dict[str, float]:
        """Those of all."""
        return {key: value for part in self._parts for key, value in part.gauges.items()}

    async def open(self) -> None:
        """Join all."""
        for part in self._parts:
            await part.open()

    async def close(self) -> None:
        """Leave all."""
        for part in self._parts:
            await part.close()

    def publish(self, event: Event, answer: Answer | None) -> bool:
        """Give an event to all; the answer is the sum of theirs."""
        if answer is None:
            published = [part.publish(event, None) for part in self._parts]
            return any(published)
        poll = Poll(answer)
        poll.expected = len(self._parts)
        asked = [part.publish(event, poll.add) for part in self._parts]
        if not any(asked):
            return False
        for was_asked in asked:
            if not was_asked:
                poll.add(0)
        return True

    def listen(self, filters: Iterable[Filter]) -> None:
        """On all."""
        filters = tuple(filters)
        for part in self._parts:
            part.listen(filters)

    def forget(self, filters: Iterable[Filter]) -> None:
        """On all."""
        filters = tuple(filters)
        for part in self._parts:
            part.forget(filters)

    async def settle(self) -> None:
        """On all, at the same time."""
        await asyncio.gather(*(part.settle() for part in self._parts))

    def tell(self, message: dict[str, Any]) -> None:
        """Tell all."""
        for part in self._parts:
            part.tell(message)


class Poll:
    """The answers of several nodes to one event, as one: good news at once, bad news at the end."""

    __slots__ = ("_answer", "_best", "expected", "heard", "timer")

    def __init__(self, answer: Answer) -> None:
        self.expected = 0
        self.heard = False  # whether any node has answered
        self.timer: asyncio.TimerHandle | None = None
        self._answer: Answer | None = answer
        self._best = 0

    @property
    def ended(self) -> bool:
        """Whether it was answered."""
        return self._answer is None

    def add(self, receivers: int) -> None:
        """Take the answer of one node that is waited for."""
        self.expected -= 1
        self.note(receivers)
        if receivers > 0 or self.expected <= 0:
            self.end()

    def note(self, receivers: int) -> None:
        """Take an answer, and go on waiting."""
        self.heard = True
        if receivers > 0 or (
            self._best <= 0 and _RANKS.get(receivers, 0) > _RANKS.get(self._best, 0)
        ):
            self._best = receivers

    def end(self) -> None:
        """Answer with what has come, unless that was done."""
        if self.timer is not None:
            self.timer.cancel()
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(self._best)


class Polls:
    """The polls that are under way on one bus, by number; each ends in bounded time."""

    def __init__(self, patience: float, *, hears_all: bool) -> None:
        """`patience` is seconds; `hears_all` tells whether every node asked is known and answers.

        Where it is not, the first answer is taken for the answer of all.
        """
        self._patience = patience
        self._hears_all = hears_all
        self._polls: dict[int, Poll] = {}
        self._number = 0

    def begin(self, answer: Answer, expected: int) -> int:
        """Wait for `expected` answers to one event; returns the poll's number, never 0."""
        self._number = number = self._number % 0xFFFF_FFFF + 1
        poll = self._polls[number] = Poll(answer)
        poll.expected = expected
        loop = asyncio.get_running_loop()
        poll.timer = loop.call_later(self._patience, self._give_up, number)
        return number

    def add(self, number: int, receivers: int) -> None:
        """Take the answer of one node that is waited for, unless the poll has ended."""
        poll = self._polls.get(number)
        if poll is not None:
            poll.add(receivers)
            self._forget_if_ended(number, poll)

    def note(self, number: int, receivers: int) -> None:
        """Take one of who knows how many answers: good news ends the poll, bad news waits."""
        poll = self._polls.get(number)
        if poll is not None:
            poll.note(receivers)
            if receivers:
                poll.end()
            self._forget_if_ended(number, poll)

    def _forget_if_ended(self, number: int, poll: Poll) -> None:
        if poll.ended:
            del self._polls[number]

    def _give_up(self, number: int) -> None:
        poll = self._polls.pop(number, None)
        if poll is not None:
            if self._hears_all or not poll.heard:
                poll.note(UNKNOWN)
            poll.end()


class Interests:
    """The topics that a node's subscriptions want, each counted."""

    def __init__(self) -> None:
        self.told: set[str] = set()  # what the others know of
        self._counts: Counter[str] = Counter()

    def add(self, filters: Iterable[Filter]) -> list[str]:
        """Count a subscription and return the topics that the others are to be told of."""
        wanted = topics_of(filters)
        self._counts.update(wanted)
        new = wanted - self.told
        self.told |= new
        return sorted(new)

    def remove(self, filters: Iterable[Filter]) -> list[str]:
        """Count a subscription no more and return the topics that nobody wants any longer."""
        gone = []
        for topic in topics_of(filters):
            self._counts[topic] -= 1
            if self._counts[topic] <= 0:
                del self._counts[topic]
                gone.append(topic)
        return gone

    def drop(self, topics: Iterable[str]) -> list[str]:
        """Return those of `topics` that the others are to forget, as nobody wants them still."""
        gone = [topic for topic in topics if topic in self.told and topic not in self._counts]
        self.told.difference_update(gone)
        return gone


def topics_of(filters: Iterable[Filter]) -> set[str]:
    """Return topics that take in all that `filters` match: KIND.RECIPIENT.ID, `*` for any.

    The recipient is the `p` tag. More may match a topic than its filter.
    """
    topics: set[str] = set()
    for item in filters:
        if item.never:
            continue
        if item.ids is not None:
            topics.update(f"*.*.{event_id}" for event_id in item.ids)
            continue
        recipients = item.tag("p") or ("*",)
        kinds: Iterable[object] = ("*",)
        if item.kinds is not None and (
            len(item.kinds) == 1
            or (len(item.kinds) <= _MAX_KINDS and len(item.kinds) * len(recipients) <= _MAX_PAIRS)
        ):
            kinds = item.kinds
        topics.update(f"{kind}.{recipient}.*" for kind in kinds for recipient in recipients)
    return topics


def matching_topics(event: Event) -> Iterator[str]:
    """Yield all topics that `event` belongs to."""
    yield f"*.*.{event.id}"
    for recipient in (*recipients_of(event), "*"):
        yield f"{event.kind}.{recipient}.*"
        yield f"*.{recipient}.*"


def recipients_of(event: Event) -> set[str]:
    """Return the pubkeys in `p` tags."""
    return {value for value in event.tag_values("p") if is_hex(value, 64)}
