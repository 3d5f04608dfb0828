"""A process of a relay that has several, as its bus sees it."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.config import NatsSettings
from bunker_relay.metrics import Counters
from bunker_relay.nodes.bus import Alone, Bus
from bunker_relay.nodes.mesh import Mesh
from bunker_relay.nodes.nats_bus import Nats
from support.wire import PATIENCE


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


@asynccontextmanager
async def found_each_other(
    folder: Path, bus_of: Callable[[Node, int, int, int], Bus]
) -> AsyncIterator[Nodes]:
    """Yield a function of n that returns n nodes of one relay, which have found each other.

    `bus_of` is given a node, its number, how many there are, and the folder's descriptor.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    async with AsyncExitStack() as stack:
        stack.callback(os.close, descriptor)

        async def make(count: int) -> list[Node]:
            made = [Node() for _ in range(count)]
            for index, node in enumerate(made):
                node.bus = bus_of(node, index, count, descriptor)
                stack.push_async_callback(node.bus.close)
            await asyncio.gather(*(node.bus.open() for node in made))
            return made

        yield make


def mesh_of(node: Node, index: int, count: int, folder: int) -> Mesh:
    """Return the bus of one of `count` workers, which meet in `folder`."""
    return Mesh(node, node.counters, index=index, count=count, folder=folder)


def nats_of(node: Node, url: str, prefix: str, *, origin: bytes = b"", password: str = "") -> Nats:
    """Return the bus of one of several hosts, each with an `origin` of its own."""
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


def to_key(key: SecretKey) -> tuple[Filter, ...]:
    """Return what a signer with this key subscribes to."""
    return (Filter(kinds=frozenset({24133}), tags=(("p", frozenset({key.pubkey})),)),)


async def next_event(node: Node) -> Event:
    """Return the next event that a node heard of."""
    async with asyncio.timeout(PATIENCE):
        return await node.events.get()
