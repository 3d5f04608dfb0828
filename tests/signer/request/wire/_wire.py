"""A bare NIP-46 client for tests: it sends any text at all and shows what comes back, unread."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bunker_core.event import Event, VerifiedEvent, parse_event_json, sign_event, verify
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips import nip44
from bunker_core.nips.channel import Channel, Scheme, rpc_template
from bunker_core.pool import RelayPool

TIMEOUT = 10.0  # seconds for an answer that takes milliseconds
EVERYTHING = "sign_event,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"


@dataclass(slots=True)
class Answer:
    """A response as it came: the carrying event, its encryption, its JSON."""

    event: VerifiedEvent
    scheme: Scheme
    json: Any

    @property
    def error(self) -> str:
        return str(self.json.get("error", ""))


def note(content: str, kind: int = 1) -> str:
    """Return what a client asks to have signed."""
    return json.dumps({"kind": kind, "content": content, "created_at": 1_700_000_000})


NOTE = note("hello")


def signed(answer: Answer) -> VerifiedEvent:
    """Return the event in an answer, verified."""
    return verify(parse_event_json(answer.json["result"]))


def content_of(answer: Answer) -> str:
    """Return what the event in an answer says."""
    return signed(answer).content


@dataclass(slots=True)
class Wire:
    """One client key at a relay, talking to one remote signer."""

    pool: RelayPool
    remote: str
    key: SecretKey
    answers: asyncio.Queue[Answer] = field(default_factory=asyncio.Queue)
    seen: list[Answer] = field(default_factory=list)

    @property
    def channel(self) -> Channel:
        return self.channel_to(self.remote)

    def channel_to(self, peer: str) -> Channel:
        key = nip44.conversation_key(self.key.shared_x(peer))
        return Channel(peer, key, self.key.shared_x)

    def event(
        self, text: str, *, scheme: Scheme = Scheme.NIP44, created_at: int | None = None
    ) -> Event:
        """Return the event that carries `text` to the signer."""
        now = int(time.time()) if created_at is None else created_at
        return sign_event(rpc_template(self.channel.seal(text, scheme), self.remote, now), self.key)

    async def publish(self, event: Event) -> None:
        """Send `event`; raises AssertionError if the relay did not deliver it."""
        receipt = await self.pool.publish(event).delivered(TIMEOUT)
        assert receipt is not None, "the relay did not deliver the request"

    async def send(self, method: str, *params: object, rid: object = "1", **how: Any) -> Event:
        """Send a request and return its event."""
        request = {"id": rid, "method": method, "params": params}
        event = self.event(json.dumps(request, ensure_ascii=False), **how)
        await self.publish(event)
        return event

    async def receive(self, timeout: float = TIMEOUT) -> Answer:
        """Return the next response."""
        async with asyncio.timeout(timeout):
            return await self.answers.get()

    async def ask(self, method: str, *params: object, rid: object = "1", **how: Any) -> Answer:
        """Send a request and return the next response."""
        await self.send(method, *params, rid=rid, **how)
        return await self.receive()

    async def silence(self) -> None:
        """Assert that the signer has sent nothing, once it has answered a later request."""
        await self.send("ping", rid="after the silence")
        answer = await self.receive()
        assert answer.json["id"] == "after the silence", answer.json


@asynccontextmanager
async def wire(relay: str, remote: str, key: SecretKey | None = None) -> AsyncIterator[Wire]:
    """Connect a client to `relay`, subscribed to what `remote` (anyone, if empty) sends it."""
    client_key = key or SecretKey.generate()
    async with RelayPool([relay]) as pool:
        client = Wire(pool, remote, client_key)
        subscription = pool.subscribe(
            Filter(kinds=frozenset({NOSTR_CONNECT}), tags=(("p", frozenset({client_key.pubkey})),))
        )
        await subscription.live(TIMEOUT)

        async def read() -> None:
            async for incoming in subscription:
                event = incoming.event
                if event.pubkey != client.remote:
                    continue  # another signer's answer to the same client key
                text, scheme = client.channel_to(event.pubkey).open(event.content)
                answer = Answer(event, scheme, json.loads(text))
                client.seen.append(answer)
                client.answers.put_nowait(answer)

        reading = asyncio.create_task(read())
        try:
            yield client
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
