"""The bus: one contract for the workers of one machine and for several hosts."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.nodes.bus import (
    HAD_IT,
    UNKNOWN,
    Alone,
    Bus,
    Buses,
    Interests,
    Poll,
    matching_topics,
    recipients_of,
    topics_of,
)
from relay.nodes._nats import NatsServer, nats_server
from relay.nodes._node import Node, Nodes, found_each_other, mesh_of, nats_of, next_event, to_key
from support.wire import PATIENCE, note, request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture(params=["workers", "hosts", "both"])
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    """nodes(n) returns n nodes of one relay that have found each other."""
    prefix = f"test-{secrets.token_hex(4)}"

    def bus_of(node: Node, index: int, count: int, folder: int) -> Bus:
        if request.param == "workers":
            return mesh_of(node, index, count, folder)
        url = request.getfixturevalue("server").url
        if request.param == "hosts":
            return nats_of(node, url, prefix)
        # two hosts: the first node, and all others as workers of one
        nats = nats_of(node, url, prefix, origin=bytes([index > 0] * 16))
        if not index or count == 2:
            return nats
        return Buses(mesh_of(node, index - 1, count - 1, folder), nats)

    async with found_each_other(tmp_path, bus_of) as make:
        yield make


async def test_an_event_reaches_the_node_that_wants_it_and_no_other(nodes: Nodes) -> None:
    """Whoever listens for a recipient hears of it, once; the sender and the rest do not."""
    one, two, three = await nodes(3)
    mine, other = SecretKey.generate(), SecretKey.generate()
    two.bus.listen(to_key(mine))
    three.bus.listen(to_key(other))
    await asyncio.gather(two.bus.settle(), three.bus.settle())
    event, last = request(SecretKey.generate(), mine.pubkey), request(mine, other.pubkey)
    assert await one.ask(event) == 1
    assert await one.ask(last) == 1
    assert await next_event(two) == event
    assert await next_event(three) == last
    assert [node.events.empty() for node in (one, two, three)] == [True] * 3


async def test_nobody_listens(nodes: Nodes) -> None:
    """The answer is 0, or there is none to wait for."""
    one, two = await nodes(2)
    assert not await one.ask(request(SecretKey.generate(), SecretKey.generate().pubkey))
    assert two.events.empty()


async def test_a_node_that_listens_may_still_have_nobody_for_it(nodes: Nodes) -> None:
    """Topics are wider than filters: the answer is what really happened."""
    one, two, three = await nodes(3)
    key = SecretKey.generate()
    for node in (two, three):
        node.bus.listen(to_key(key))
        node.receivers = 0
        await node.bus.settle()
    assert await one.ask(request(SecretKey.generate(), key.pubkey)) == 0
    two.receivers = HAD_IT
    assert await one.ask(request(SecretKey.generate(), key.pubkey)) == HAD_IT


async def test_good_news_of_one_node_outweighs_the_rest(nodes: Nodes) -> None:
    """One node that delivered is enough."""
    one, two, three = await nodes(3)
    key = SecretKey.generate()
    for node in (two, three):
        node.bus.listen(to_key(key))
        await node.bus.settle()
    two.receivers, three.receivers = 0, 3
    assert await one.ask(request(SecretKey.generate(), key.pubkey)) == 3


async def test_events_come_in_order(nodes: Nodes) -> None:
    """What one node publishes to a recipient arrives as it was sent."""
    one, two = await nodes(2)
    key = SecretKey.generate()
    two.bus.listen(to_key(key))
    await two.bus.settle()
    sent = [request(key, key.pubkey, str(number)) for number in range(200)]
    for event in sent:
        assert one.bus.publish(event, None)
    assert [await next_event(two) for _ in sent] == sent


async def test_wide_subscriptions_hear_all_that_they_match(nodes: Nodes) -> None:
    """By kind, by id, by nothing at all; with many recipients, and with none."""
    one, two = await nodes(2)
    key = SecretKey.generate()
    crowd = tuple(("p", SecretKey.generate().pubkey) for _ in range(40))
    plain, many = note(key, "plain"), note(key, "many", kind=3, tags=crowd)
    for wanted, event in (
        (Filter(kinds=frozenset({1})), plain),
        (Filter(ids=frozenset({plain.id})), plain),
        (Filter(authors=frozenset({key.pubkey})), plain),
        (Filter(tags=(("p", frozenset({crowd[7][1]})),)), many),
        (Filter(), many),
    ):
        two.bus.listen((wanted,))
        await two.bus.settle()
        one.bus.publish(event, None)
        while await next_event(two) != event:  # the one before, on another topic
            pass
        two.bus.forget((wanted,))


async def test_a_subscription_that_is_sent_again_misses_nothing(nodes: Nodes) -> None:
    """Between the old and the new one the node goes on to hear."""
    one, two = await nodes(2)
    key = SecretKey.generate()
    two.bus.listen(to_key(key))
    await two.bus.settle()
    for number in range(50):
        two.bus.forget(to_key(key))
        two.bus.listen(to_key(key))
        assert two.bus.settled
        event = request(key, key.pubkey, str(number))
        assert await one.ask(event) == 1
        assert await next_event(two) == event


async def test_nobody_hears_what_nobody_wants_any_longer(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without a subscription the others are told to forget it."""
    monkeypatch.setattr("bunker_relay.nodes.mesh.LINGER", 0)
    monkeypatch.setattr("bunker_relay.nodes.nats_bus.LINGER", 0)
    one, two = await nodes(2)
    key = SecretKey.generate()
    two.bus.listen(to_key(key))
    await two.bus.settle()
    two.bus.forget(to_key(key))
    await asyncio.sleep(0)
    await asyncio.gather(two.bus.settle(), one.bus.settle())
    assert not await one.ask(request(key, key.pubkey))
    assert two.events.empty()


async def test_a_message_reaches_every_other_node(nodes: Nodes) -> None:
    """A signer that wakes up is told to all."""
    one, two, three = await nodes(3)
    message = {"waking": [SecretKey.generate().pubkey]}
    one.bus.tell(message)
    async with asyncio.timeout(PATIENCE):
        assert await two.messages.get() == message
        assert await three.messages.get() == message
    assert one.messages.empty()


# --- the parts -----------------------------------------------------------------------------------


def test_topics_take_in_what_filters_match() -> None:
    """Every filter has a topic among those of each event that it matches."""
    key, other = SecretKey.generate(), SecretKey.generate()
    event = note(key, kind=24133, tags=(("p", other.pubkey), ("p", "junk"), ("e",)))
    assert recipients_of(event) == {other.pubkey}
    topics = set(matching_topics(event))
    to = (("p", frozenset({other.pubkey, key.pubkey})),)
    for item in (
        Filter(),
        Filter(ids=frozenset({event.id})),
        Filter(kinds=frozenset({1, 24133})),
        Filter(kinds=frozenset({24133}), tags=to),
        Filter(kinds=frozenset(range(24100, 24200)), tags=to),
        Filter(authors=frozenset({key.pubkey}), tags=to),
    ):
        assert item.matches(event)
        assert topics & topics_of((item,)), item
    assert topics_of((Filter(kinds=frozenset()),)) == set()


def test_interests_are_counted() -> None:
    """The others hear of the first subscription for a topic, and when the last has gone."""
    interests = Interests()
    item = (Filter(kinds=frozenset({1})),)
    assert interests.add(item) == ["1.*.*"]
    assert interests.add(item) == []
    assert interests.remove(item) == []
    assert interests.remove(item) == ["1.*.*"]
    assert interests.add(item) == []  # they have not been told to forget it
    assert interests.drop(["1.*.*"]) == []
    interests.remove(item)
    assert interests.drop(["1.*.*"]) == ["1.*.*"]
    assert interests.add(item) == ["1.*.*"]


def test_a_poll_is_answered_once() -> None:
    """At once with good news, else when all have answered."""
    answers: list[int] = []
    poll = Poll(answers.append)
    poll.expected = 3
    for receivers in (0, 2, 5):
        poll.add(receivers)
    assert answers == [2]
    poll = Poll(answers.append)
    poll.expected = 2
    poll.add(HAD_IT)
    assert not poll.ended
    poll.add(UNKNOWN)
    assert answers == [2, HAD_IT]
    poll = Poll(answers.append)
    poll.note(UNKNOWN)
    poll.note(0)
    poll.end()
    assert answers == [2, HAD_IT, UNKNOWN]


async def test_alone_nobody_else_is_asked() -> None:
    """One process needs no bus."""
    bus = Alone()
    await bus.open()
    bus.listen((Filter(),))
    await bus.settle()
    assert bus.settled
    assert not bus.publish(note(SecretKey.generate()), lambda _: None)
    await bus.close()
