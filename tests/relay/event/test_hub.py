"""The hub without a socket."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_relay.event.hub import Hub, Subscription
from relay.support.frames import Frames
from support.strategies import EVENTS, FILTERS

EVENT = Event("a" * 64, "b" * 64, 1, 24133, (("p", "c" * 64), ("t", "x")), "", "d" * 128)


def subscribe(hub: Hub, *filters: Filter, name: str = "s", live: bool = True) -> Frames:
    """Subscribe and return where the frames go."""
    sink = Frames()
    subscription = Subscription(name, filters, sink, lambda _event, _filter: True)
    hub.add(subscription)
    if live:
        subscription.release(())
    return sink


def watched(looked_at: list[object]) -> type[Filter]:
    """Return filters that note in `looked_at` when they are asked."""

    class Watched(Filter):
        def matches(self, event: Event) -> bool:
            looked_at.append(self)
            return super().matches(event)

    return Watched


def test_every_condition_finds_the_event() -> None:
    """A subscription is found by whichever of its conditions the index has."""
    for item in (
        Filter(),
        Filter(kinds=frozenset({24133, 1})),
        Filter(authors=frozenset({"b" * 64})),
        Filter(ids=frozenset({"a" * 64})),
        Filter(tags=(("p", frozenset({"c" * 64, "e" * 64})),)),
        Filter(tags=(("t", frozenset({"x"})),), kinds=frozenset({24133})),
        Filter(since=1, until=1),
    ):
        hub = Hub()
        sink = subscribe(hub, item)
        assert hub.publish(EVENT) == 1
        assert sink.frames == [b'["EVENT","s",' + EVENT.to_json() + b"]"]


@settings(max_examples=50, deadline=None)
@given(EVENTS, st.lists(st.lists(FILTERS, min_size=1, max_size=3), max_size=4))
def test_the_index_agrees_with_matches(event: Event, filters: list[list[Filter]]) -> None:
    """Whatever the filters, exactly the subscriptions that match get the event, once each."""
    # Half of them are made to have something in common with the event.
    near = [
        replace(item, authors=frozenset({event.pubkey}) if item.authors else None, ids=None)
        for group in filters
        for item in group
    ]
    hub = Hub()
    sinks = [(group, subscribe(hub, *group)) for group in [*filters, *([item] for item in near)]]
    expected = [any(item.matches(event) for item in group) for group, _ in sinks]
    assert hub.publish(event) == sum(expected)
    assert [len(sink.frames) for _, sink in sinks] == [int(match) for match in expected]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(FILTERS, min_size=1, max_size=3), max_size=4))
def test_a_removed_subscription_leaves_the_index_empty(filters: list[list[Filter]]) -> None:
    """After the last one has gone nothing of it is left, and removing twice is harmless."""
    hub = Hub()
    subscriptions = [
        Subscription(name, tuple(group), Frames(), lambda _event, _filter: True)
        for group in filters
        for name in ("one", "another", "one")  # the third is of the first one's audience
    ]
    for subscription in subscriptions:
        hub.add(subscription)
    for subscription in subscriptions * 2:
        hub.remove(subscription)
    assert hub.subscriptions == 0
    assert not any((hub._audiences, hub._tags, hub._ids, hub._authors, hub._kinds, hub._any))


def test_held_events_come_after_the_stored_ones_and_once() -> None:
    """Live events wait for the stored ones, and those sent as stored are not sent again."""
    hub = Hub()
    sink = Frames()
    subscription = Subscription("s", (Filter(),), sink, lambda _event, _filter: True)
    hub.add(subscription)
    second = replace(EVENT, id="e" * 64)
    hub.publish(EVENT)
    hub.publish(second)
    assert sink.frames == []
    assert sink.reserved == len(EVENT.to_json()) * 2
    subscription.send_stored(EVENT.to_json())
    subscription.release([EVENT.id])
    assert sink.frames == [b'["EVENT","s",' + event.to_json() + b"]" for event in (EVENT, second)]
    assert sink.reserved == 0


def test_an_ended_subscription_gives_back_what_it_held() -> None:
    """Nothing is sent, and nothing stays reserved."""
    hub = Hub()
    sink = Frames()
    subscription = Subscription("s", (Filter(),), sink, lambda _event, _filter: True)
    hub.add(subscription)
    hub.publish(EVENT)
    hub.remove(subscription)
    assert (sink.frames, sink.reserved) == ([], 0)
    assert hub.publish(EVENT) == 0


def test_the_json_of_an_event_is_made_once() -> None:
    """However many subscribers there are; and not at all for nobody."""
    made = 0

    class Counted(Event):
        def to_json(self) -> bytes:
            nonlocal made
            made += 1
            return super().to_json()

    event = Counted("a" * 64, "b" * 64, 1, 1, (), "", "d" * 128)
    hub = Hub()
    hub.publish(event)
    assert made == 0
    for number in range(10):
        subscribe(hub, Filter(), name=str(number))
    assert hub.publish(event) == 10
    assert made == 1


def test_an_audience_is_looked_at_once() -> None:
    """Filters and frame are the same for subscriptions with the same id and filters."""
    hub = Hub()
    looked_at: list[object] = []
    item = watched(looked_at)(kinds=frozenset({24133}))
    sinks = [subscribe(hub, item) for _ in range(10)]
    other = subscribe(hub, item, name="other")
    assert hub.publish(EVENT) == 11
    assert len(looked_at) == 2
    assert len({id(sink.frames[0]) for sink in sinks}) == 1
    assert other.frames == [b'["EVENT","other",' + EVENT.to_json() + b"]"]


def test_whoever_may_see_an_event_is_asked_unless_all_may() -> None:
    """Of an audience those get an event whose client may have it, and all do when it is open."""
    asked: list[str] = []

    def may(name: str, answer: bool) -> Subscription:
        def sees(_event: Event, _filter: Filter) -> bool:
            asked.append(name)
            return answer

        subscription = Subscription("s", (Filter(),), Frames(), sees)
        subscription.release(())
        return subscription

    hub = Hub(lambda event, _filter: event.kind == 1)
    for subscription in (may("friend", True), may("stranger", False)):
        hub.add(subscription)
    assert hub.publish(EVENT) == 1
    assert sorted(asked) == ["friend", "stranger"]
    assert hub.publish(replace(EVENT, kind=1)) == 2
    assert len(asked) == 2


def test_a_publish_looks_at_candidates_alone() -> None:
    """Ten thousand subscriptions of others cost an event nothing."""
    looked_at: list[object] = []

    def sees(_event: Event, item: Filter) -> bool:
        looked_at.append(item)
        return True

    hub, make = Hub(), watched(looked_at)
    for number in range(10_000):
        item = make(kinds=frozenset({24133}), tags=(("p", frozenset({f"{number:064x}"})),))
        hub.add(Subscription("s", (item,), Frames(), sees))
    assert hub.publish(replace(EVENT, tags=(("p", f"{77:064x}"),))) == 1
    assert len(looked_at) == 2
