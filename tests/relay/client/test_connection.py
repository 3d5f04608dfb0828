"""One connection to a relay in this process: what it still does for a client, and when no more."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from _wire import PATIENCE, note
from bunker_core.keys import SecretKey
from bunker_relay.client.connection import Connection
from bunker_relay.config import Config
from bunker_relay.nodes.bus import Alone
from bunker_relay.relay import Relay
from relay.store._saving import save


class Slow(Alone):
    """Other nodes that take their time until they know what is asked for."""

    alone = False
    settled = False

    def __init__(self) -> None:
        self.waiting = 0
        self.cancelled = 0
        self.known = asyncio.Event()
        self._changed = asyncio.Event()

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Return when `wanted` holds of what happens here."""
        while not wanted():
            self._changed.clear()
            await self._changed.wait()

    async def settle(self) -> None:
        self.waiting += 1
        self._changed.set()
        try:
            await self.known.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
            self._changed.set()


class Client:
    """Frames to a connection, and what it says."""

    def __init__(self, relay: Relay) -> None:
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.said: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.connection = Connection(
            relay.parts, "192.0.2.1", frozenset(), {}, self._incoming.get, self._send
        )
        self._serving = asyncio.create_task(self.connection.run())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Disconnect."""
        self._incoming.put_nowait({"type": "websocket.disconnect"})
        with suppress(asyncio.CancelledError):
            await self._serving

    def send(self, *message: Any) -> None:
        """Send a message."""
        self._incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def _send(self, message: Any) -> None:
        self.said.put_nowait(json.loads(message["text"]))


@pytest.mark.parametrize("asked", [{"kinds": [1]}, {"kinds": [24133], "limit": 0}])
@pytest.mark.parametrize("ends", [["CLOSE", "s"], ["REQ", "s", {"kinds": [7, 7_000]}]])
async def test_nothing_is_said_to_a_subscription_that_has_ended(
    tmp_path: Path, asked: dict[str, Any], ends: list[Any]
) -> None:
    """No event and no EOSE after CLOSE; one EOSE when its id is used again."""
    relay, bus = Relay(Config(data=tmp_path)), Slow()
    relay.parts = replace(relay.parts, bus=bus)
    await save(relay.store, note(SecretKey.generate()))
    async with asyncio.timeout(PATIENCE), Client(relay) as client:
        client.send("REQ", "s", asked)
        await bus.until(lambda: bus.waiting == 1)
        client.send(*ends)
        client.send("REQ", "t", {"kinds": [24133]})
        await bus.until(lambda: bus.cancelled == 1)
        bus.known.set()
        said = [await client.said.get()]
        while said[-1][:2] != ["EOSE", "t"]:
            said.append(await client.said.get())
        if ends[0] == "REQ" and ["EOSE", "s", ["finish"]] not in said:
            said.append(await client.said.get())
    expected = [["EOSE", "s", ["finish"]]] if ends[0] == "REQ" else []
    assert [message for message in said if message[1] == "s"] == expected
    assert relay.memory.used == 0
    assert relay.answers.size == 0
    await relay.close()


async def test_a_client_that_has_left_costs_nothing_more(tmp_path: Path) -> None:
    """What was being done for it ends, and all that it held is free."""
    relay, bus = Relay(Config(data=tmp_path)), Slow()
    relay.parts = replace(relay.parts, bus=bus)
    async with asyncio.timeout(PATIENCE):
        client = Client(relay)
        for number in range(3):
            client.send("REQ", f"s{number}", {"kinds": [24133], "limit": 0, "#p": ["ab" * 32]})
        client.send("REQ", "stored", {"kinds": [1]})
        client.send("COUNT", "c", {"kinds": [1]})
        await bus.until(lambda: bus.waiting == 4)
        assert relay.memory.used > 0
        assert relay.hub.subscriptions == 4
        await client.leave()
        await bus.until(lambda: bus.cancelled == 4)
    await asyncio.sleep(0)
    assert (relay.memory.used, relay.hub.subscriptions, len(relay.connections)) == (0, 0, 0)
    bus.known.set()
    await asyncio.sleep(0)
    assert client.said.empty()
    await relay.close()
