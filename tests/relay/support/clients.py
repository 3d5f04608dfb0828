"""Clients of a relay in this process, and what they wait for: other nodes and a disk."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import pytest

from bunker_core.event import Event
from bunker_core.keys import SecretKey
from bunker_relay.client.connection import Connection
from bunker_relay.nodes.bus import Alone
from bunker_relay.relay import Relay
from bunker_relay.store.outcome import Outcome
from support.wire import note


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

    def __init__(self, relay: Relay, **extensions: Callable[[], None]) -> None:
        """`extensions` are what our own server offers, `bunker.abort` as `abort`."""
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.said: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.reads = asyncio.Event()  # what it is sent
        self.reads.set()
        self.is_sent = asyncio.Event()  # something
        scope = {"extensions": {f"bunker.{name}": call for name, call in extensions.items()}}
        self.connection = Connection(
            relay.parts, "192.0.2.1", frozenset(), scope, self._incoming.get, self._send
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
        self.send_frame(text=json.dumps(message))

    def send_frame(self, **frame: str | bytes) -> None:
        """Send a frame as it is."""
        self._incoming.put_nowait({"type": "websocket.receive", **frame})

    async def told(self, number: int) -> list[list[Any]]:
        """Return so many messages; a close is one, too."""
        return [await self.said.get() for _ in range(number)]

    async def _send(self, message: Any) -> None:
        self.is_sent.set()
        await self.reads.wait()
        text = message.get("text")
        closed = ["closed", message.get("code"), message.get("reason")]
        self.said.put_nowait(json.loads(text) if text else closed)


class Disk:
    """Takes the place of a store's `save`: what came, to be committed by hand."""

    def __init__(self, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[Callable[[Outcome], None]] = []
        self._came = asyncio.Event()
        monkeypatch.setattr(relay.store, "save", self._save)

    def _save(self, _event: Event, done: Callable[[Outcome], None]) -> None:
        self.waiting.append(done)
        self._came.set()

    async def came(self, number: int) -> None:
        """Return when so many wait."""
        while len(self.waiting) < number:
            self._came.clear()
            await self._came.wait()

    def commit(self) -> None:
        """Store the first that waits."""
        self.waiting.pop(0)(Outcome.SAVED)


def written(**settings: Any) -> list[Any]:
    return ["EVENT", json.loads(note(SecretKey.generate(), **settings).to_json())]
