"""What can go wrong on demand, and the handler that lets it.

The faults sit on the handler's two public seams: `handle`, where a request has come in, and
`seal`, where a reply becomes an event. What lies between is the real signer.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from bunker.testbed.transcript import Direction, Entry, Transcript
from bunker_core.channel import Channel, Scheme, rpc_template
from bunker_core.errors import BunkerError
from bunker_core.event import Event, VerifiedEvent
from bunker_core.nip46 import Method, Request, Response, parse_request
from bunker_signer.approval import Approver
from bunker_signer.handler import Handler, Keys, Reply
from bunker_signer.store import Store

# What `deny` denies: all that opens the user key.
_KEYED: Final = frozenset(
    {
        Method.SIGN_EVENT.value,
        Method.NIP04_ENCRYPT.value,
        Method.NIP04_DECRYPT.value,
        Method.NIP44_ENCRYPT.value,
        Method.NIP44_DECRYPT.value,
    }
)


class FaultName(StrEnum):
    """What happens to the next response."""

    DELAY = "delay"  # it goes out `seconds` later
    DROP = "drop"  # it never goes out
    DUPLICATE = "duplicate"  # it goes out twice, as two events
    CORRUPT = "corrupt"  # its event is sound, its content can't be decrypted
    AUTH_URL = "auth_url"  # an auth challenge goes out first, and it waits for `agree`


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that waits for the response to a request of `method`, or to any."""

    name: FaultName
    method: str | None = None
    seconds: float = 0.0
    url: str = ""


class Faults:
    """The faults of one signer. Each of the first five meets one response, in their order."""

    def __init__(self) -> None:
        self._next: list[Fault] = []
        self._lock = threading.Lock()
        self._agreed = threading.Event()
        self.muted = False  # requests are read and left without an answer
        self.denying = False  # all that needs the key is denied, whatever was granted
        self.clock_skew = 0.0  # seconds that the signer's clock is ahead

    def delay(self, seconds: float, method: str | None = None) -> None:
        """Hold the next response back."""
        self.add(Fault(FaultName.DELAY, method, seconds=seconds))

    def drop(self, method: str | None = None) -> None:
        """Lose the next response; the signer has done its work."""
        self.add(Fault(FaultName.DROP, method))

    def duplicate(self, method: str | None = None) -> None:
        """Send the next response twice."""
        self.add(Fault(FaultName.DUPLICATE, method))

    def corrupt(self, method: str | None = None) -> None:
        """Damage the ciphertext of the next response."""
        self.add(Fault(FaultName.CORRUPT, method))

    def ask_auth_url(self, url: str, method: str | None = None) -> None:
        """Send the client to `url` first; the response waits until `agree` is called."""
        self._agreed.clear()
        self.add(Fault(FaultName.AUTH_URL, method, url=url))

    def agree(self) -> None:
        """Let the requests go on that wait for their user at an auth_url."""
        self._agreed.set()

    def mute(self, on: bool = True) -> None:
        """Read requests and answer none, as a signer that the phone put to sleep."""
        self.muted = on

    def deny(self, on: bool = True) -> None:
        """Deny whatever needs the key."""
        self.denying = on

    def skew_clock(self, seconds: float) -> None:
        """Set the signer's clock this far ahead; negative is behind."""
        self.clock_skew = seconds

    def clear(self) -> None:
        """Have no faults any more."""
        with self._lock:
            self._next.clear()
        self._agreed.set()
        self.muted = self.denying = False
        self.clock_skew = 0.0

    def add(self, fault: Fault) -> None:
        """Let `fault` meet the next response that it fits."""
        with self._lock:
            self._next.append(fault)

    def waiting(self) -> tuple[Fault, ...]:
        """Return the faults that have met no response yet."""
        with self._lock:
            return tuple(self._next)

    def take(self, method: str) -> Fault | None:
        """Return, and forget, the first fault for a response to `method`."""
        with self._lock:
            for index, fault in enumerate(self._next):
                if fault.method in (None, method):
                    return self._next.pop(index)
        return None

    def clock(self) -> float:
        """Return the time as the signer has it."""
        return time.time() + self.clock_skew

    async def agreement(self) -> None:
        """Wait for `agree`."""
        # a thread's event, because `agree` is called from another one
        await asyncio.to_thread(self._agreed.wait)


@dataclass(frozen=True, slots=True)
class _MarkedReply(Reply):
    """A reply that knows its request, and what is to go wrong with it."""

    request: Request | None = None
    fault: Fault | None = None


class FaultyHandler(Handler):
    """The signer's handler, with faults on both its ends and a transcript of both."""

    def __init__(
        self,
        keys: Keys,
        store: Store,
        approver: Approver,
        *,
        faults: Faults,
        transcript: Transcript,
        publish: Callable[[Event], None],
    ) -> None:
        """`publish` sends an event beside those that the agent sends."""
        super().__init__(keys, store, approver, faults.clock)
        self._transport = keys.transport
        self._faults = faults
        self._transcript = transcript
        self._publish = publish
        self._clients = store

    async def handle(self, event: VerifiedEvent, relay_url: str) -> Reply | None:
        """Return the reply to a request, unless a fault wants none."""
        try:
            request, scheme = self._read(event)
        except BunkerError:
            return await super().handle(event, relay_url)
        muted = self._faults.muted
        self._note(Direction.REQUEST, event, event.pubkey, scheme, request, fault="mute" * muted)
        if muted:
            return None
        fault = self._faults.take(request.method)
        if fault is not None and fault.name is FaultName.AUTH_URL:
            await self._challenge(event, request, scheme, fault.url)
        paired = self._clients.client(event.pubkey) is not None
        if paired and self._faults.denying and request.method in _KEYED:
            response = Response(request.id, error="denied: the test wants it so")
            reply: Reply | None = Reply(
                event.pubkey, response, scheme, (relay_url,), event.created_at
            )
        else:
            reply = await super().handle(event, relay_url)
        if reply is None:
            return None
        if fault is not None and fault.name is FaultName.DELAY:
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.name is FaultName.DROP:
            self._note_response(None, reply, request, fault.name)
            return None
        values = {field.name: getattr(reply, field.name) for field in fields(reply)}
        return _MarkedReply(**values, request=request, fault=fault)

    def seal(self, reply: Reply) -> Event:
        """Return an event with the reply, damaged if a fault wants it so."""
        event = super().seal(reply)
        if not isinstance(reply, _MarkedReply) or reply.request is None:
            return event
        name = reply.fault.name if reply.fault else ""
        if name == FaultName.CORRUPT:
            template = rpc_template(_damaged(event.content), reply.client_pubkey, event.created_at)
            event = self._transport.sign(template)
        self._note_response(event, reply, reply.request, name)
        if name == FaultName.DUPLICATE:
            double = super().seal(reply)
            self._note_response(double, reply, reply.request, name)
            self._publish(double)
        return event

    async def _challenge(
        self, event: VerifiedEvent, request: Request, scheme: Scheme, url: str
    ) -> None:
        response = Response(request.id, "auth_url", url)
        reply = Reply(event.pubkey, response, scheme, (), event.created_at)
        challenge = super().seal(reply)
        self._note_response(challenge, reply, request, FaultName.AUTH_URL)
        self._publish(challenge)
        await self._faults.agreement()

    def _read(self, event: VerifiedEvent) -> tuple[Request, Scheme]:
        transport = self._transport
        key = transport.conversation_key(event.pubkey)
        text, scheme = Channel(event.pubkey, key, transport.shared_x).open(event.content)
        return parse_request(text), scheme

    def _note_response(
        self, event: Event | None, reply: Reply, request: Request, fault: str
    ) -> None:
        self._note(
            Direction.RESPONSE,
            event,
            reply.client_pubkey,
            reply.scheme,
            request,
            response=reply.response,
            fault=fault,
        )

    def _note(
        self,
        direction: Direction,
        event: Event | None,
        client_pubkey: str,
        scheme: Scheme,
        request: Request,
        *,
        response: Response | None = None,
        fault: str = "",
    ) -> None:
        self._transcript.add(
            Entry(
                at=time.time(),
                direction=direction,
                client_pubkey=client_pubkey,
                remote_signer_pubkey=self._transport.get_public_key(),
                event_id="" if event is None else event.id,
                scheme=scheme.value,
                id=request.id,
                method=request.method,
                params=request.params,
                result=response.result if response else None,
                error=response.error if response else None,
                fault=str(fault),
            )
        )


def _damaged(payload: str) -> str:
    """Return `payload` with one character in its middle changed."""
    middle = len(payload) // 2
    other = "A" if payload[middle] != "A" else "B"
    return payload[:middle] + other + payload[middle + 1 :]
