"""A bare Nostr client over a WebSocket: sends what it is told, shows what comes, keeps a trace."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from bunker.conformance.case import Failed, Silence
from bunker.conformance.wire.trace import Trace
from bunker_core.event import EventTemplate, Tags, VerifiedEvent, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.nip42 import auth_template

Message = list[Any]
_MAX_FRAME: Final = 16 * 1024 * 1024  # bytes; more than any case has sent to it
NOBODY: Final = "f" * 64  # no event has this id
_REPLIES: Final = ("EVENT", "EOSE", "CLOSED")


class Refused(Failed):
    """A REQ was answered with CLOSED; the text is its reason."""

    def __str__(self) -> str:
        return f"CLOSED {self.args[0]}"


class Peer:
    """One connection to a relay. The challenge of AUTH is put aside, the rest comes in order."""

    max_unread = 5_000  # messages that nobody has asked for

    def __init__(self, name: str, url: str, trace: Trace, patience: float) -> None:
        """`patience` is seconds that every wait lasts at most."""
        self.name = name
        self.url = url
        self.patience = patience
        self.challenge: str | None = None
        # Returns the decrypted content of a message, for the trace, or "".
        self.reveal: Callable[[Message], str] = lambda _: ""
        self._trace = trace
        self._socket: ClientConnection | None = None
        self._unread: list[Message] = []
        self._barriers = 0

    async def open(self) -> None:
        """Connect; raises OSError or InvalidHandshake."""
        try:
            async with asyncio.timeout(self.patience):
                self._socket = await connect(
                    self.url, max_size=_MAX_FRAME, compression=None, proxy=None, close_timeout=1
                )
        except TimeoutError:
            raise Silence("connection", self.patience) from None

    async def close(self) -> None:
        """Take leave."""
        if self._socket is not None:
            await self._socket.close()

    @property
    def socket(self) -> ClientConnection:
        """The WebSocket, for what needs frames."""
        if self._socket is None:
            raise RuntimeError("the peer is not open")
        return self._socket

    async def send(self, *message: Any, plain: str = "") -> None:
        """Send a message; events may be objects of bunker_core."""
        content = [item.to_dict() if hasattr(item, "to_dict") else item for item in message]
        await self.send_text(json.dumps(content, ensure_ascii=False), plain=plain)

    async def send_text(self, text: str, *, plain: str = "") -> None:
        """Send a text frame as it is."""
        self._trace.add(self.name, True, text, plain)
        await self.socket.send(text)

    def note(self, text: str) -> None:
        """Write a remark into the trace."""
        self._trace.add(self.name, True, text)

    async def next(self, awaited: str = "answer") -> Message:
        """Return the next message; raises Silence."""
        if self._unread:
            return self._unread.pop(0)
        return await self._receive(awaited)

    async def until(self, wanted: Callable[[Message], bool], awaited: str = "answer") -> Message:
        """Return the first message that is `wanted`; those before it stay. Raises Silence."""
        for index, message in enumerate(self._unread):
            if wanted(message):
                return self._unread.pop(index)
        while True:
            message = await self._receive(awaited)
            if wanted(message):
                return message
            if len(self._unread) >= self.max_unread:
                raise Failed(f"sends without end: {self.max_unread} messages before the {awaited}")
            self._unread.append(message)

    async def publish(self, event: VerifiedEvent) -> tuple[bool, str]:
        """Publish an event and return what OK says."""
        await self.send("EVENT", event)
        return await self.ok(event.id)

    async def ok(self, event_id: str) -> tuple[bool, str]:
        """Return what OK says of an event."""
        message = await self.until(lambda m: m[0] == "OK" and len(m) > 1 and m[1] == event_id, "OK")
        return message[2], message[3] if len(message) > 3 else ""

    async def subscribe(self, name: str, *filters: Any) -> list[dict[str, Any]]:
        """Send REQ and return the stored events; raises Refused, or Silence without EOSE."""
        await self.send("REQ", name, *filters)
        events: list[dict[str, Any]] = []
        while True:
            message = await self.until(lambda m: m[0] in _REPLIES and m[1] == name, "EOSE")
            if message[0] == "CLOSED":
                raise Refused(message[2] if len(message) > 2 else "")
            if message[0] == "EOSE":
                return events
            events.append(message[2])

    async def delivered(self, name: str) -> dict[str, Any]:
        """Return the next event of a subscription."""
        message = await self.until(lambda m: m[0] == "EVENT" and m[1] == name, "EVENT")
        event: dict[str, Any] = message[2]
        return event

    async def unread(self) -> list[Message]:
        """Return everything that the relay has sent so far and nobody has looked at."""
        self._barriers += 1
        name = f"barrier-{self._barriers}"
        await self.send("REQ", name, {"ids": [NOBODY], "limit": 1})
        await self.until(lambda m: m[0] in ("EOSE", "CLOSED") and m[1] == name, "EOSE")
        await self.send("CLOSE", name)
        rest, self._unread = self._unread, []
        return rest

    async def alive(self) -> None:
        """See that the connection still serves; raises Silence or ConnectionClosed."""
        rest = self._unread
        self._unread = []
        self._unread = rest + await self.unread()

    async def authenticate(self, key: SecretKey, **changes: Any) -> tuple[bool, str]:
        """Answer the challenge, with `changes` to the event; return what OK says."""
        template = auth_template(self.url, self.challenge or "", int(time.time()))
        fields: dict[str, Any] = {
            name: changes.get(name, getattr(template, name))
            for name in ("kind", "content", "tags", "created_at")
        }
        event = sign_event(EventTemplate(**fields), key)
        await self.send("AUTH", event)
        return await self.ok(event.id)

    async def _receive(self, awaited: str) -> Message:
        while True:
            try:
                async with asyncio.timeout(self.patience):
                    message = await self._read()
            except TimeoutError:
                raise Silence(awaited, self.patience) from None
            if message[0] != "AUTH":
                return message
            self.challenge = str(message[1])

    async def _read(self) -> Message:
        """Return the next message off the socket."""
        frame = await self.socket.recv()
        text = frame if isinstance(frame, str) else repr(frame)
        message = json.loads(text) if isinstance(frame, str) else None
        if not isinstance(message, list) or not message:
            self._trace.add(self.name, False, text)
            raise ValueError("a message is not an array")
        self._trace.add(self.name, False, text, self.reveal(message))
        return message


def note(
    author: SecretKey,
    content: str = "",
    *,
    kind: int = 1,
    tags: Tags = (),
    created_at: int | None = None,
) -> VerifiedEvent:
    """Return a signed event; `created_at` is now unless given."""
    now = int(time.time()) if created_at is None else created_at
    return sign_event(EventTemplate(kind=kind, content=content, tags=tags, created_at=now), author)


def request(
    author: SecretKey, recipient: str, content: str = "", *, created_at: int | None = None
) -> VerifiedEvent:
    """Return an event that a relay can't tell from a signing request (kind 24133)."""
    return note(
        author,
        content or SecretKey.generate().pubkey,
        kind=NOSTR_CONNECT,
        tags=(("p", recipient),),
        created_at=created_at,
    )
