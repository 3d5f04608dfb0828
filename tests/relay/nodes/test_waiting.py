"""What a relay does while it waits for the others: nothing is missed, nothing comes twice."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bunker_core.keys import SecretKey
from bunker_relay.client.connection import Connection
from bunker_relay.config import Config
from bunker_relay.nodes.bus import Alone
from bunker_relay.relay import Relay
from relay.store._saving import save
from support.wire import PATIENCE, note, request


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
