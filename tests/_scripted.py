"""A relay and a remote signer that do what a test tells them: real sockets, scripted behaviour."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bunker_core.errors import BunkerError
from bunker_core.event import Event, parse_event, parse_template, sign_event
from bunker_core.filter import Filter, parse_filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.bunker_uri import BunkerURI
from bunker_core.nips.channel import Channel, Scheme, rpc_template
from bunker_core.nips.nip44 import conversation_key
from bunker_core.pool import RelayPool

Message = list[Any]


class Peer:
    """A client of the scripted relay."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.subscriptions: dict[str, tuple[Filter, ...]] = {}

    async def send(self, *message: Any) -> None:
        """Send a message as JSON; one that is bare text goes as it is."""
        raw = len(message) == 1 and isinstance(message[0], str)
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(message[0] if raw else json.dumps(message))


# Returns whether the message was dealt with; else the relay does what a relay does.
Script = Callable[[Peer, Message], Awaitable[bool]]


class ScriptedRelay:
    """Forwards events to subscribers and keeps nothing, unless `script` has it otherwise."""

    def __init__(self) -> None:
        self.port = 0
        self.script: Script | None = None
        self.greeting: Message | None = None
        self.received: list[Message] = []
        self.peers: set[Peer] = set()
        self.connections = 0
        self._arrived = asyncio.Event()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        self._server = await serve(
            self._serve, "127.0.0.1", self.port, max_size=None, compression=None
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def kill(self) -> None:
        """Cut every connection and stop listening, without a word."""
        if self._server is None:
            return
        self.drop()
        self._server.close(close_connections=False)
        await self._server.wait_closed()
        self._server = None

    async def restart(self) -> None:
        """Be killed and come back on the same port; not for use in a script, which it waits for."""
        await self.kill()
        await self.start()

    def drop(self) -> None:
        """Cut every connection."""
        for peer in list(self.peers):
            peer.socket.transport.abort()

    def of_type(self, kind: str) -> list[Message]:
        """Return what was received of one message type."""
        return [message for message in self.received if message[0] == kind]

    async def wait_for(self, kind: str, count: int = 1) -> list[Message]:
        """Wait until `count` messages of a type have come."""
        async with asyncio.timeout(10):
            while len(self.of_type(kind)) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.of_type(kind)

    async def forward(self, event: dict[str, Any]) -> int:
        """Send an event to everyone who subscribed to it; return to how many."""
        parsed = parse_event(event)
        receivers = 0
        for peer in list(self.peers):
            for subscription_id, filters in list(peer.subscriptions.items()):
                if any(item.matches(parsed) for item in filters):
                    receivers += 1
                    await peer.send("EVENT", subscription_id, event)
        return receivers

    async def handle(self, peer: Peer, message: Message) -> None:
        """Do what a relay does, saying `mute:` when nobody listens."""
        match message:
            case ["REQ", str(subscription_id), *filters]:
                peer.subscriptions[subscription_id] = tuple(map(parse_filter, filters))
                await peer.send("EOSE", subscription_id)
            case ["CLOSE", str(subscription_id)]:
                peer.subscriptions.pop(subscription_id, None)
            case ["EVENT", dict(event)]:
                receivers = await self.forward(event)
                await peer.send(
                    "OK", event["id"], True, "" if receivers else "mute: no one is listening"
                )
            case _:
                await peer.send("NOTICE", "invalid: unknown message")

    async def _serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self.peers.add(peer)
        self.connections += 1
        try:
            if self.greeting:
                await peer.send(*self.greeting)
            async for frame in socket:
                message = json.loads(frame)
                if self.script is None or not await self.script(peer, message):
                    await self.handle(peer, message)
                self.received.append(message)
                self._arrived.set()
        except ConnectionClosed:
            pass
        finally:
            self.peers.discard(peer)


@asynccontextmanager
async def scripted_relay(script: Script | None = None) -> AsyncIterator[ScriptedRelay]:
    """Run a scripted relay on a free loopback port."""
    relay = ScriptedRelay()
    relay.script = script
    await relay.start()
    try:
        yield relay
    finally:
        await relay.kill()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the scripted signer got it."""

    client: str
    id: str
    method: str
    params: list[Any]
    event: Event


# Returns the responses to a request: objects to be sent as JSON, or bare text.
Answer = Callable[[Asked], Iterable[Any]]


@dataclass(slots=True)
class ScriptedSigner:
    """Answers each request with what `answer` returns; None has it answer like a good signer."""

    relays: list[str]
    answer: Answer | None = None
    transport: SecretKey = field(default_factory=SecretKey.generate)
    user: SecretKey = field(default_factory=SecretKey.generate)
    secret: str = "0123456789abcdef"
    scheme: Scheme = Scheme.NIP44
    skew: int = 0  # seconds by which its clock is off
    asked: list[Asked] = field(default_factory=list)
    pool: RelayPool = field(init=False)

    @property
    def uri(self) -> str:
        return str(BunkerURI(self.transport.pubkey, tuple(self.relays), self.secret))

    def methods(self) -> list[str]:
        """Return the methods it was asked for, in order."""
        return [asked.method for asked in self.asked]

    def good(self, asked: Asked) -> Any:
        """Return what a good signer would answer."""
        result = self._result(asked)
        if result is None:
            return {"id": asked.id, "result": "error", "error": "unsupported: unknown method"}
        return {"id": asked.id, "result": result}

    async def send(self, client: str, response: Any, *, key: SecretKey | None = None) -> Event:
        """Send a response to a client, signed by another `key` if given."""
        text = response if isinstance(response, str) else json.dumps(response)
        author = key or self.transport
        content = _channel(author, client).seal(text, self.scheme)
        event = sign_event(rpc_template(content, client, int(time.time()) + self.skew), author)
        self.pool.publish(event)
        return event

    async def serve(self) -> None:
        """Answer requests until cancelled."""
        wanted = Filter(
            kinds=frozenset({NOSTR_CONNECT}),
            tags=(("p", frozenset({self.transport.pubkey})),),
        )
        subscription = self.pool.subscribe(wanted)
        await subscription.live(10)
        self._ready.set()
        async for incoming in subscription:
            event = incoming.event
            text, _ = _channel(self.transport, event.pubkey).open(event.content)
            value = json.loads(text)
            asked = Asked(event.pubkey, value["id"], value["method"], value["params"], event)
            self.asked.append(asked)
            responses = [self.good(asked)] if self.answer is None else list(self.answer(asked))
            for response in responses:
                await self.send(asked.client, response)

    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def _result(self, asked: Asked) -> str | None:
        match asked.method, asked.params:
            case "connect", _:
                return "ack"
            case "ping", _:
                return "pong"
            case "get_public_key", _:
                return self.user.pubkey
            case "switch_relays", _:
                return "null"
            case "logout", _:
                return "ack"
            case "sign_event", [template]:
                signed = sign_event(parse_template(json.loads(template)), self.user)
                return signed.to_json().decode()
            case ("nip44_encrypt" | "nip04_encrypt") as method, [peer, text]:
                return _channel(self.user, peer).seal(text, Scheme(method[:5]))
            case (("nip44_decrypt" | "nip04_decrypt"), [peer, payload]):
                return _channel(self.user, peer).open(payload)[0]
            case _:
                return None


@asynccontextmanager
async def scripted_signer(
    *relays: str, answer: Answer | None = None, signer: ScriptedSigner | None = None
) -> AsyncIterator[ScriptedSigner]:
    """Run a scripted signer that is subscribed when the context is entered."""
    scripted = signer or ScriptedSigner(list(relays), answer)
    scripted._ready.clear()
    async with RelayPool(scripted.relays) as scripted.pool:
        serving = asyncio.create_task(scripted.serve())
        ready = asyncio.create_task(scripted._ready.wait())
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        try:
            yield scripted
            if serving.done():
                serving.result()
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError, BunkerError):
                await serving


def _channel(key: SecretKey, peer: str) -> Channel:
    return Channel(peer, conversation_key(key.shared_x(peer)), key.shared_x)
