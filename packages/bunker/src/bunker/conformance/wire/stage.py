"""The relay that the kit plays: it forwards and keeps nothing, and does wrong when told to."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bunker_core.errors import BunkerError
from bunker_core.event import Event, parse_event
from bunker_core.filter import Filter, parse_filter
from bunker_core.kinds import NOSTR_CONNECT

Message = list[Any]
HOST: Final = "127.0.0.1"
_MAX_MESSAGE: Final = 8 * 1024 * 1024  # bytes; more than any case sends
_KEPT: Final = 2_000  # messages of one relay that are kept to be looked at


class Visitor:
    """A client of the stage's relay."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.subscriptions: dict[str, tuple[Filter, ...]] = {}

    async def send(self, *message: Any) -> None:
        """Send a message; a client that has gone gets none."""
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        """Send what need not be a message; a client that has gone gets none."""
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(text)


# Returns whether the message was dealt with; else the relay does what a relay does.
Script = Callable[[Visitor, Message], Awaitable[bool]]
# Sees every event that comes.
Watch = Callable[[Event], None]


class StageRelay:
    """A relay on a free port of this process; `script` goes before what a good relay does."""

    def __init__(self) -> None:
        self.port = 0
        self.script: Script | None = None
        self.watch: Watch | None = None
        self.greeting: Message | None = None
        self.received: list[Message] = []
        self.visitors: set[Visitor] = set()
        self.connections = 0
        self._arrived = asyncio.Event()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Where it listens, over restarts too."""
        return f"ws://{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        self._server = await serve(
            self._serve, HOST, self.port, max_size=_MAX_MESSAGE, compression=None, close_timeout=1
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Cut every connection and stop listening, without a word."""
        if self._server is None:
            return
        self.drop()
        self._server.close(close_connections=False)
        await self._server.wait_closed()
        self._server = None

    def drop(self) -> None:
        """Cut every connection."""
        for visitor in list(self.visitors):
            visitor.socket.transport.abort()

    async def say(self, *message: Any) -> None:
        """Send a message to every client."""
        for visitor in list(self.visitors):
            await visitor.send(*message)

    async def end_subscriptions(self, reason: str, *, to: str) -> None:
        """Send CLOSED for every subscription to the signing events of a pubkey, and forget it."""
        for visitor in list(self.visitors):
            for name, filters in list(visitor.subscriptions.items()):
                if any(_asks_for(item, to) for item in filters):
                    del visitor.subscriptions[name]
                    await visitor.send("CLOSED", name, reason)

    async def until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until `done`, looked at whenever something comes; return whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not done():
                    self._arrived.clear()
                    await self._arrived.wait()
        return done()

    async def forward(self, event: Event, only: Visitor | None = None) -> int:
        """Send an event to who subscribed to it; return how many subscriptions it met."""
        met = 0
        for visitor in list(self.visitors):
            if only in (None, visitor):
                for name, filters in list(visitor.subscriptions.items()):
                    if any(item.matches(event) for item in filters):
                        met += 1
                        await visitor.send("EVENT", name, event.to_dict())
        return met

    def listens(self, pubkey: str) -> bool:
        """Tell whether someone subscribed to the signing events to `pubkey`."""
        return any(
            _asks_for(item, pubkey)
            for visitor in self.visitors
            for filters in visitor.subscriptions.values()
            for item in filters
        )

    async def quietly(self, visitor: Visitor, message: Message) -> None:
        """Do what a relay does without a word to who asked."""
        match message:
            case ["REQ", str(name), *filters]:
                visitor.subscriptions[name] = tuple(map(parse_filter, filters))
            case ["EVENT", dict(value)]:
                event = parse_event(value)
                if self.watch is not None:
                    self.watch(event)
                await self.forward(event)

    async def handle(self, visitor: Visitor, message: Message) -> None:
        """Do what a relay does."""
        match message:
            case ["REQ", str(name), *filters]:
                try:
                    visitor.subscriptions[name] = tuple(map(parse_filter, filters))
                except BunkerError as error:
                    await visitor.send("CLOSED", name, f"invalid: {error}")
                    return
                await visitor.send("EOSE", name)
            case ["CLOSE", str(name)]:
                visitor.subscriptions.pop(name, None)
            case ["EVENT", dict(value)]:
                try:
                    event = parse_event(value)
                except BunkerError as error:
                    await visitor.send("OK", value.get("id", ""), False, f"invalid: {error}")
                    return
                if self.watch is not None:
                    self.watch(event)
                met = await self.forward(event)
                await visitor.send("OK", event.id, True, "" if met else "mute: nobody listens")
            case _:
                await visitor.send("NOTICE", "invalid: unknown message")

    async def _serve(self, socket: ServerConnection) -> None:
        visitor = Visitor(socket)
        self.visitors.add(visitor)
        self.connections += 1
        try:
            if self.greeting:
                await visitor.send(*self.greeting)
            async for frame in socket:
                try:
                    message = json.loads(frame)
                except ValueError:
                    message = None
                if not isinstance(message, list) or not message:
                    await visitor.send("NOTICE", "invalid: not a message")
                    continue
                if self.script is None or not await self.script(visitor, message):
                    await self.handle(visitor, message)
                if len(self.received) < _KEPT:
                    self.received.append(message)
                self._arrived.set()
        except ConnectionClosed:
            pass
        finally:
            self.visitors.discard(visitor)
            self._arrived.set()


@asynccontextmanager
async def stage_relay(script: Script | None = None) -> AsyncIterator[StageRelay]:
    """Run such a relay on a free loopback port."""
    relay = StageRelay()
    relay.script = script
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


def _asks_for(item: Filter, pubkey: str) -> bool:
    kinds = item.kinds is None or NOSTR_CONNECT in item.kinds
    return kinds and any(name == "p" and pubkey in values for name, values in item.tags)
