"""The bus: one contract for the workers of one machine and for several hosts."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from _nats import NatsServer, nats_server
from _wire import PATIENCE, note, request
from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.client.connection import Connection
from bunker_relay.config import Config, NatsSettings
from bunker_relay.metrics import Counters
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
from bunker_relay.nodes.mesh import Mesh
from bunker_relay.nodes.nats_bus import Nats
from bunker_relay.relay import Relay
from relay.store._saving import save


class Node:
    """A process that remembers what it hears, and says that `receivers` got it."""

    def __init__(self) -> None:
        self.receivers = 1
        self.counters = Counters()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.bus: Bus = Alone()
        self.on_announced: Callable[[], object] = lambda: None

    def receive(self, event: Event, *, trusted: bool) -> int:
        self.events.put_nowait(event)
        return self.receivers

    async def told(self, message: dict[str, Any]) -> dict[str, Any]:
        self.messages.put_nowait(message)
        return {"from": id(self)}

    async def announced(self) -> None:
        self.on_announced()

    async def ask(self, event: Event) -> int | None:
        """Publish and return the answer, None when nobody was asked."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if not self.bus.publish(event, answer.set_result):
            return None
        async with asyncio.timeout(PATIENCE):
            return await answer


Nodes = Callable[[int], Awaitable[list[Node]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture(params=["workers", "hosts", "both"])
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    """nodes(n) returns n nodes of one relay that have found each other."""
    prefix = f"test-{secrets.token_hex(4)}"
    folder = os.open(tmp_path, os.O_RDONLY)
    async with AsyncExitStack() as stack:
        stack.callback(os.close, folder)

        async def make(count: int) -> list[Node]:
            made = [Node() for _ in range(count)]
            for index, node in enumerate(made):
                if request.param == "workers":
                    node.bus = _mesh(node, index, count, folder)
                elif request.param == "hosts":
                    node.bus = _nats(node, request.getfixturevalue("server").url, prefix)
                else:  # two hosts: the first node, and all others as workers of one
                    origin = bytes([index > 0] * 16)
                    nats = _nats(node, request.getfixturevalue("server").url, prefix, origin=origin)
                    mesh = _mesh(node, index - 1, count - 1, folder)
                    node.bus = Buses(mesh, nats) if index and count > 2 else nats
                stack.push_async_callback(node.bus.close)
            await asyncio.gather(*(node.bus.open() for node in made))
            return made

        yield make


def _mesh(node: Node, index: int, count: int, folder: int) -> Mesh:
    return Mesh(node, node.counters, index=index, count=count, folder=folder)


def _nats(node: Node, url: str, prefix: str, *, origin: bytes = b"", password: str = "") -> Nats:
    settings = NatsSettings(servers=(url,), prefix=prefix)
    if password:
        settings = settings.but(user="relay")
    return Nats(
        node,
        node.counters,
        settings,
        password=password or None,
        origin=origin or secrets.token_bytes(16),
        max_event_bytes=10_000,
    )


def _to(key: SecretKey) -> tuple[Filter, ...]:
    return (Filter(kinds=frozenset({24133}), tags=(("p", frozenset({key.pubkey})),)),)


async def _next(node: Node) -> Event:
    async with asyncio.timeout(PATIENCE):
        return await node.events.get()


async def test_an_event_reaches_the_node_that_wants_it_and_no_other(nodes: Nodes) -> None:
    """Whoever listens for a recipient hears of it, once; the sender and the rest do not."""
    one, two, three = await nodes(3)
    mine, other = SecretKey.generate(), SecretKey.generate()
    two.bus.listen(_to(mine))
    three.bus.listen(_to(other))
    await asyncio.gather(two.bus.settle(), three.bus.settle())
    event, last = request(SecretKey.generate(), mine.pubkey), request(mine, other.pubkey)
    assert await one.ask(event) == 1
    assert await one.ask(last) == 1
    assert await _next(two) == event
    assert await _next(three) == last
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
        node.bus.listen(_to(key))
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
        node.bus.listen(_to(key))
        await node.bus.settle()
    two.receivers, three.receivers = 0, 3
    assert await one.ask(request(SecretKey.generate(), key.pubkey)) == 3


async def test_events_come_in_order(nodes: Nodes) -> None:
    """What one node publishes to a recipient arrives as it was sent."""
    one, two = await nodes(2)
    key = SecretKey.generate()
    two.bus.listen(_to(key))
    await two.bus.settle()
    sent = [request(key, key.pubkey, str(number)) for number in range(200)]
    for event in sent:
        assert one.bus.publish(event, None)
    assert [await _next(two) for _ in sent] == sent


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
        while await _next(two) != event:  # the one before, on another topic
            pass
        two.bus.forget((wanted,))


async def test_a_subscription_that_is_sent_again_misses_nothing(nodes: Nodes) -> None:
    """Between the old and the new one the node goes on to hear."""
    one, two = await nodes(2)
    key = SecretKey.generate()
    two.bus.listen(_to(key))
    await two.bus.settle()
    for number in range(50):
        two.bus.forget(_to(key))
        two.bus.listen(_to(key))
        assert two.bus.settled
        event = request(key, key.pubkey, str(number))
        assert await one.ask(event) == 1
        assert await _next(two) == event


async def test_nobody_hears_what_nobody_wants_any_longer(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without a subscription the others are told to forget it."""
    monkeypatch.setattr("bunker_relay.nodes.mesh.LINGER", 0)
    monkeypatch.setattr("bunker_relay.nodes.nats_bus.LINGER", 0)
    one, two = await nodes(2)
    key = SecretKey.generate()
    two.bus.listen(_to(key))
    await two.bus.settle()
    two.bus.forget(_to(key))
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


# --- what a relay makes of it -------------------------------------------------------------------


class Elsewhere(Alone):
    """A bus on which something happens each time that the relay waits for the others."""

    alone = False
    settled = False

    def __init__(self, *happens: Callable[[], Awaitable[None]]) -> None:
        self._happens = iter(happens)

    async def settle(self) -> None:
        await next(self._happens)()


async def _conversation(
    relay: Relay, *sent: list[Any], after: Callable[[], object] = lambda: None
) -> list[list[Any]]:
    """Send messages to a relay and return all that it says up to EOSE, and `after` that."""
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outgoing: asyncio.Queue[list[Any]] = asyncio.Queue()

    async def send(message: Any) -> None:
        outgoing.put_nowait(json.loads(message["text"]))

    for message in sent:
        incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
    serving = asyncio.create_task(
        Connection(relay.parts, "", frozenset(), {}, incoming.get, send).run()
    )
    said: list[list[Any]] = []
    async with asyncio.timeout(PATIENCE):
        while not said or said[-1][0] != "EOSE":
            said.append(await outgoing.get())
    after()
    incoming.put_nowait({"type": "websocket.disconnect"})
    await serving
    while not outgoing.empty():
        said.append(outgoing.get_nowait())
    await relay.close()
    return [message for message in said if message[0] != "AUTH"]


async def test_a_query_waits_until_others_know_of_its_subscription(tmp_path: Path) -> None:
    """What is stored elsewhere before they do is found, as nobody will send it."""
    relay, event = Relay(Config(data=tmp_path)), note(SecretKey.generate())

    async def store() -> None:
        await save(relay.store, event)

    async def nothing() -> None:
        pass

    relay.parts = replace(relay.parts, bus=Elsewhere(store, nothing))
    said = await _conversation(relay, ["REQ", "s", {"kinds": [1]}])
    assert [message[0] for message in said] == ["EVENT", "EOSE"]


async def test_what_others_announce_after_it_was_found_comes_once(tmp_path: Path) -> None:
    """An event that a query has returned already is not sent again as a live one."""
    relay, event = Relay(Config(data=tmp_path)), note(SecretKey.generate())

    async def store() -> None:
        await save(relay.store, event)

    announced = []

    async def announce() -> None:
        announced.append(relay.receive(event, trusted=True))

    def be_late() -> None:  # what would come to a relay that had not waited
        if not announced:
            relay.receive(event, trusted=True)

    relay.parts = replace(relay.parts, bus=Elsewhere(store, announce))
    said = await _conversation(relay, ["REQ", "s", {"kinds": [1]}], after=be_late)
    assert [message[0] for message in said] == ["EVENT", "EOSE"]


async def test_eose_waits_until_others_know_of_the_subscription(tmp_path: Path) -> None:
    """Whoever publishes elsewhere after EOSE is heard; what comes before it is not held back."""
    key = SecretKey.generate()
    relay = Relay(Config(data=tmp_path))

    async def arrive() -> None:
        assert relay.receive(request(key, key.pubkey), trusted=True) == 1

    relay.parts = replace(relay.parts, bus=Elsewhere(arrive))
    said = await _conversation(relay, ["REQ", "s", {"kinds": [24133], "#p": [key.pubkey]}])
    assert [message[0] for message in said] == ["EVENT", "EOSE"]


# --- the mesh alone ----------------------------------------------------------------------------


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[list[Node]]]]:
    folder = os.open(tmp_path, os.O_RDONLY)
    async with AsyncExitStack() as stack:
        stack.callback(os.close, folder)

        async def make(count: int) -> list[Node]:
            made = [Node() for _ in range(count)]
            for index, node in enumerate(made):
                node.bus = _mesh(node, index, count, folder)
                stack.push_async_callback(node.bus.close)
            await asyncio.gather(*(node.bus.open() for node in made))
            return made

        yield make


async def test_settle_comes_after_what_others_have_stored(mesh: Nodes) -> None:
    """What was committed elsewhere before is heard before `settle` returns."""
    one, two = await mesh(2)
    key = SecretKey.generate()
    two.bus.listen((Filter(),))
    await two.bus.settle()
    event = note(key)
    one.on_announced = lambda: one.bus.publish(event, None)
    await two.bus.settle()
    assert two.events.get_nowait() == event


async def test_every_worker_answers_a_question(mesh: Nodes) -> None:
    """Figures, lists and authorizations are asked of all."""
    one, two, three = await mesh(3)
    assert isinstance(one.bus, Mesh)
    answers = await one.bus.ask({"figures": True})
    assert {answer["from"] for answer in answers} == {id(two), id(three)}


async def test_a_worker_that_ends_answers_for_nobody(mesh: Nodes) -> None:
    """Whoever waits for it learns that at once, and its subscriptions are gone."""
    one, two = await mesh(2)
    key = SecretKey.generate()
    two.bus.listen(_to(key))
    await two.bus.settle()
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert one.bus.publish(request(key, key.pubkey), answer.set_result)
    await two.bus.close()
    async with asyncio.timeout(PATIENCE):
        assert await answer in (UNKNOWN, 1)
    assert await one.ask(request(key, key.pubkey)) in (None, UNKNOWN)
    assert one.bus.gauges == {"workers_linked": 0}


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff" * 64,  # a length beyond all bounds
        bytes((0, 0, 0, 2, 1, 0, 0, 0, 0)) + b"{}",  # an event that is none
        bytes((0, 0, 0, 2, 99, 0, 0, 0, 0)) + b"{}",  # a frame that nobody knows
    ],
)
async def test_junk_from_a_worker_is_counted_and_the_link_ended(
    mesh: Nodes, tmp_path: Path, junk: bytes
) -> None:
    """A frame that can't be read ends that link alone."""
    one, _ = await mesh(2)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "0")
    writer.write(junk)
    async with asyncio.timeout(PATIENCE):
        await reader.read()
    writer.close()
    assert one.counters.bus_malformed == 1
    assert one.bus.gauges == {"workers_linked": 1}


async def test_a_process_of_another_user_is_not_a_worker(
    mesh: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says who is at the other end."""
    one, _ = await mesh(2)
    monkeypatch.setattr("bunker_relay.nodes.mesh.peer_uid", lambda _: os.geteuid() + 1)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "0")
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()
    assert one.bus.gauges == {"workers_linked": 1}


# --- the parts ---------------------------------------------------------------------------------


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
