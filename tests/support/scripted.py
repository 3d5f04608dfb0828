"""A relay and a remote signer that do what a test tells them: real sockets, scripted behaviour."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bunker.conformance.wire.stage import Message as Message
from bunker.conformance.wire.stage import Script as Script
from bunker.conformance.wire.stage import StageRelay, Visitor
from bunker_core.errors import BunkerError
from bunker_core.event import Event, parse_template, sign_event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.bunker_uri import BunkerURI
from bunker_core.nips.channel import Channel, Scheme, rpc_template
from bunker_core.nips.nip44 import conversation_key
from bunker_core.pool import RelayPool

# A client of the scripted relay, as scripts see it.
Peer = Visitor


class ScriptedRelay(StageRelay):
    """The relay of the conformance kit, with what tests ask of it besides."""

    @property
    def peers(self) -> set[Peer]:
        return self.visitors

    async def kill(self) -> None:
        """Cut every connection and stop listening, without a word."""
        await self.stop()

    async def restart(self) -> None:
        """Be killed and come back on the same port; not for use in a script, which it waits for."""
        await self.kill()
        await self.start()

    def of_type(self, kind: str) -> list[Message]:
        """Return what was received of one message type."""
        return [message for message in self.received if message[0] == kind]

    async def wait_for(self, kind: str, count: int = 1) -> list[Message]:
        """Wait until `count` messages of a type have come."""
        assert await self.until(lambda: len(self.of_type(kind)) >= count, 10), self.received
        return self.of_type(kind)


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
