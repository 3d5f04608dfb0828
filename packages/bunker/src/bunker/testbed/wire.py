"""Where faults happen: between a relay and its clients, on the frames themselves.

The relay behind and the signer in front know nothing of it; they are what users run. Only the
testbed's own signers are met, whose transport keys it made.
"""

import asyncio
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bunker.testbed.faults import Fault, FaultName, Faults
from bunker.testbed.transcript import Direction, Entry, Transcript
from bunker_core.errors import BunkerError
from bunker_core.event import Event, parse_event_json, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips import nip44
from bunker_core.nips.channel import Channel, Scheme, rpc_template
from bunker_core.nips.nip46 import Method, Request, Response, parse_request, parse_response
from bunker_signer.policy import FREE

# What `deny` denies: all that opens the user key.
_KEYED: Final = frozenset(method.value for method in Method if method not in FREE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that crossed, for when its response does."""

    request: Request
    scheme: Scheme


@dataclass(slots=True)
class Party:
    """A signer as the wire knows it."""

    transport: SecretKey
    faults: Faults
    asked: dict[tuple[str, str | int], _Asked] = field(default_factory=dict)
    # One decision an event, at however many relays it is published.
    decided: dict[str, Fault | None] = field(default_factory=dict)

    def channel(self, client_pubkey: str) -> Channel:
        """Return the channel between the signer and a client."""
        key = self.transport
        conversation_key = nip44.conversation_key(key.shared_x(client_pubkey))
        return Channel(client_pubkey, conversation_key, key.shared_x)

    def seal(self, client_pubkey: str, response: Response, scheme: Scheme) -> Event:
        """Return an event with a response, in the signer's name."""
        content = self.channel(client_pubkey).seal(response.to_json(), scheme)
        return self.sign(content, client_pubkey)

    def sign(self, content: str, client_pubkey: str) -> Event:
        """Return an event with any content, in the signer's name."""
        template = rpc_template(content, client_pubkey, int(time.time()))
        return sign_event(template, self.transport)

    def decide(self, event_id: str, method: str) -> Fault | None:
        """Return the fault for the response in an event."""
        if event_id not in self.decided:
            self.decided[event_id] = self.faults.take(method)
        return self.decided[event_id]


class Wire:
    """ASGI middleware around a relay."""

    def __init__(
        self, app: ASGIApp, parties: MutableMapping[str, Party], transcript: Transcript
    ) -> None:
        """`parties` are named by remote-signer pubkey; more may come at any time."""
        self._app = app
        self._parties = parties
        self._transcript = transcript

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        connection = _Connection(self._parties, self._transcript, receive, send)
        pump = asyncio.create_task(connection.pump())
        try:
            await self._app(scope, connection.receive, connection.send)
        finally:
            await connection.close()
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)


class _Connection:
    """One connection to the relay."""

    def __init__(
        self,
        parties: MutableMapping[str, Party],
        transcript: Transcript,
        receive: Receive,
        send: Send,
    ) -> None:
        self._parties = parties
        self._transcript = transcript
        self._receive = receive
        self._send = send
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._answered: set[str] = set()  # events whose OK went out already, or goes nowhere
        self._held: set[asyncio.Task[None]] = set()

    async def pump(self) -> None:
        """Look at every frame on its way in."""
        while True:
            message = await self._receive()
            event = _signing_event(message)
            if event is None or not await self._take(event):
                await self._inbox.put(message)

    async def receive(self) -> Message:
        """Return what the relay is to see."""
        return await self._inbox.get()

    async def send(self, message: Message) -> None:
        """Pass on what the relay says, but for an OK that its client has or never asked for."""
        if self._answered and (event_id := _acknowledged(message)) in self._answered:
            self._answered.discard(event_id)
            return
        await self._send(message)

    async def close(self) -> None:
        """Lose what is held back."""
        for task in list(self._held):
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)

    async def _take(self, event: Event) -> bool:
        """Meddle with an event; return whether it is dealt with."""
        try:
            if party := self._parties.get(event.pubkey):
                return await self._take_response(party, event, _recipient(event))
            if party := self._parties.get(_recipient(event)):
                return await self._take_request(party, event)
        except BunkerError:
            return False  # not for us to judge
        return False

    async def _take_request(self, party: Party, event: Event) -> bool:
        text, scheme = party.channel(event.pubkey).open(event.content)
        request = parse_request(text)
        party.asked[event.pubkey, request.id] = asked = _Asked(request, scheme)
        muted = party.faults.muted
        self._note(Direction.REQUEST, party, event.pubkey, asked, event, fault="mute" * muted)
        if muted:
            await self._acknowledge(event)
            return True
        if party.faults.denying and request.method in _KEYED:
            await self._acknowledge(event)
            denial = Response(request.id, error="denied: the test wants it so")
            await self._respond(party, event.pubkey, asked, denial, "deny")
            return True
        challenge = party.faults.take_auth_url(request.method)
        if challenge is not None:
            await self._acknowledge(event)
            first = Response(request.id, "auth_url", challenge.url)
            await self._respond(party, event.pubkey, asked, first, challenge.name)
            self._hold(party.faults.agreement, event)
            return True
        return False

    async def _take_response(self, party: Party, event: Event, client_pubkey: str) -> bool:
        text, scheme = party.channel(client_pubkey).open(event.content)
        response = parse_response(text)
        # nostrconnect:// is answered without having been asked
        unasked = _Asked(Request(response.id, Method.CONNECT.value), scheme)
        asked = party.asked.get((client_pubkey, response.id), unasked)
        fault = party.decide(event.id, asked.request.method)
        name = fault.name if fault else ""
        self._note(
            Direction.RESPONSE, party, client_pubkey, asked, event, response=response, fault=name
        )
        if fault is None:
            return False
        match fault.name:
            case FaultName.DELAY:
                await self._acknowledge(event)
                self._hold(lambda: asyncio.sleep(fault.seconds), event)
                return True
            case FaultName.DUPLICATE:
                await self._respond(party, client_pubkey, asked, response, name)
                return False
            case FaultName.CORRUPT:
                await self._acknowledge(event)
                await self._inject(party.sign(_damaged(event.content), client_pubkey))
                return True
            case _:  # DROP
                await self._acknowledge(event)
                return True

    async def _respond(
        self, party: Party, client_pubkey: str, asked: _Asked, response: Response, fault: str
    ) -> None:
        """Send a response of our own in the signer's name."""
        event = party.seal(client_pubkey, response, asked.scheme)
        party.decided[event.id] = None
        self._note(
            Direction.RESPONSE, party, client_pubkey, asked, event, response=response, fault=fault
        )
        await self._inject(event)

    async def _inject(self, event: Event) -> None:
        """Let the relay see an event that this connection's client did not send, or not now."""
        self._answered.add(event.id)
        frame = orjson.dumps(["EVENT", event.to_dict()]).decode()
        await self._inbox.put({"type": "websocket.receive", "text": frame})

    async def _acknowledge(self, event: Event) -> None:
        frame = orjson.dumps(["OK", event.id, True, ""]).decode()
        await self._send({"type": "websocket.send", "text": frame})

    def _hold(self, until: Callable[[], Any], event: Event) -> None:
        async def later() -> None:
            await until()
            await self._inject(event)

        task = asyncio.create_task(later())
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    def _note(
        self,
        direction: Direction,
        party: Party,
        client_pubkey: str,
        asked: _Asked,
        event: Event,
        *,
        response: Response | None = None,
        fault: str = "",
    ) -> None:
        self._transcript.add(
            Entry(
                at=time.time(),
                direction=direction,
                client_pubkey=client_pubkey,
                remote_signer_pubkey=party.transport.pubkey,
                event_id=event.id,
                scheme=asked.scheme.value,
                id=asked.request.id,
                method=asked.request.method,
                params=asked.request.params,
                result=response.result if response else None,
                error=response.error if response else None,
                fault=str(fault),
            )
        )


def _signing_event(message: Message) -> Event | None:
    """Return the signing event in a frame, if it is one."""
    text = message.get("text")
    if not isinstance(text, str) or not text.startswith('["EVENT"'):
        return None
    try:
        event = parse_event_json(orjson.dumps(orjson.loads(text)[1]))
    except (BunkerError, ValueError, IndexError, TypeError):
        return None
    return event if event.kind == NOSTR_CONNECT else None


def _acknowledged(message: Message) -> str:
    """Return the id of the event that a frame acknowledges, or ""."""
    text = message.get("text") or (message.get("bytes") or b"").decode(errors="replace")
    if not text.startswith('["OK"'):
        return ""
    return str(orjson.loads(text)[1])


def _recipient(event: Event) -> str:
    return next(iter(event.tag_values("p")), "")


def _damaged(payload: str) -> str:
    """Return `payload` with one character in its middle changed."""
    middle = len(payload) // 2
    other = "A" if payload[middle] != "A" else "B"
    return payload[:middle] + other + payload[middle + 1 :]
