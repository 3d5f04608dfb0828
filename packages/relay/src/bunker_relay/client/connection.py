"""One WebSocket: reads frames, carries out what the protocol asks for, closes in order."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Receive, Scope, Send

from bunker_core.errors import InvalidMessage
from bunker_core.event import Event
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.messages import Auth, ClientMessage, Count, Req, parse_client_message
from bunker_relay.client.outbox import Outbox, Unread
from bunker_relay.client.protocol import (
    CountQuery,
    Effect,
    HangUp,
    Query,
    RelayProtocol,
    Unsubscribe,
)
from bunker_relay.client.queries import Queries
from bunker_relay.logs import defect, log

if TYPE_CHECKING:
    from bunker_relay.client.cork import Cork
    from bunker_relay.client.fast_path import FastPathProtocol
    from bunker_relay.client.parts import Parts

POLICY_VIOLATION: Final = 1008  # RFC 6455, section 7.4.1
SERVICE_RESTART: Final = 1012  # IANA's registry of close codes


class Connection:
    """One client of the relay."""

    def __init__(
        self,
        relay: "Parts",
        address: str,
        relay_urls: frozenset[str],
        scope: Scope,
        receive: Receive,
        send: Send,
        fast_path: "FastPathProtocol | None" = None,
    ) -> None:
        """`address` is whose rate limits the client shares; an AUTH names one of `relay_urls`.

        With `fast_path`, `attach` serves it.
        """
        self._relay = relay
        self._receive = receive
        self._asgi_send = send
        self._fast_path = fast_path
        # Our server offers it; under another, a client that does not read lingers.
        self._abort = scope.get("extensions", {}).get("bunker.abort")
        self._leave = scope.get("extensions", {}).get("bunker.leave")
        self._left = asyncio.Event()
        most = relay.policy.limits.max_outbox_bytes
        unread = Unread(relay.unread, address)
        self._outbox: Outbox | Cork
        if self._fast_path is not None:
            self._abort = self._fast_path.abort
            self._leave = self._fast_path.leave
            self._outbox = self._fast_path.open_cork(relay.corks, most, self._overflowed, unread)
        else:
            self._outbox = Outbox(self._send, most, self._overflowed, unread)
        self._protocol = RelayProtocol(
            relay.policy,
            self._outbox,
            address=address,
            queries=relay.queries,
            memory=relay.memory,
            filters=relay.filters,
            challenge=secrets.token_hex(16),
            relay_urls=relay_urls,
            overflowed=lambda subscription: self._queries.missed(subscription),
        )
        self._most = relay.policy.limits.max_message_bytes
        self._pending_saves = 0
        self._saved: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._queries = Queries(relay, self._protocol, self._outbox, self._spawn, self._stalled)
        self._ended = False
        self._done: Callable[[], None] | None = None

    @property
    def address(self) -> str:
        """Whose rate limits the client shares."""
        return self._protocol.address

    @property
    def is_deaf(self) -> bool:
        """Whether a subscription is one that would be refused now."""
        return self._protocol.is_deaf

    async def run(self) -> None:
        """Serve the client until it, or the relay, closes."""
        self._relay.connections.add(self)
        try:
            while not self._ended:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                self._take(message.get("text"))
                await self._have_room()
        finally:
            self._end()

    def attach(self, fast_path: "FastPathProtocol", done: Callable[[], None]) -> None:
        """Serve the client by the calls of `fast_path`; `done` is called when it has gone."""
        self._done = done
        self._relay.connections.add(self)
        fast_path.attach(
            self._take_attached,
            self._reading_ended,
            self._large,
            self._relay.fair_reads,
            self.address,
        )

    def _large(self, size: int) -> bool:
        """Take memory for a large message that is on its way; less than nothing gives it back."""
        budget = self._relay.large
        if size > 0:
            return budget.take(self.address, size)
        budget.give_back(self.address, -size)
        return True

    def _reading_ended(self) -> None:
        fast_path = self._fast_path
        if fast_path is not None and fast_path.waiting and not self._ended:
            self._spawn(self._finish(fast_path))
        else:
            self._end()

    async def _finish(self, fast_path: "FastPathProtocol") -> None:
        """Take what was sent before the end and held back until now."""
        while fast_path.waiting and not self._ended:
            await self._have_room()
            fast_path.resume_reading()
        self._end()

    async def shut_down(self) -> None:
        """End the connection once the client's events are saved and it was told.

        Without a word, as if the power had gone: every client comes back from that. CLOSED is the
        last word on a subscription to most, which then do not ask for it again; and a clean close,
        with whatever code, is the end of the connection to applesauce, which uses RxJS.
        """
        while self._pending_saves and not self._ended:
            await self._next_save()
        await self._outbox.flushed()
        if self._leave is None:
            await self._close(SERVICE_RESTART, "shutting down")
            return
        self._leave()
        await self._left.wait()

    def drop(self) -> None:
        """End the connection at once, whatever was still to be sent."""
        if self._abort is not None:
            self._abort()
        self._end()

    def _take_attached(self, text: str | bytes | None) -> None:
        self._take(text)
        if self._outbox.crowded or (self._pending_saves and self._saves_enough):
            self._pause_reading()

    def _pause_reading(self) -> None:
        """Read no further until there is room."""
        fast_path = self._fast_path
        if fast_path is None:
            raise AssertionError  # only an attached connection is held

        async def resume() -> None:
            await self._have_room()
            fast_path.resume_reading()

        fast_path.pause_reading()
        self._spawn(resume())

    def _take(self, text: str | bytes | None) -> None:
        """Carry out one message, without waiting for anything.

        Raises UnicodeDecodeError for bytes that are not UTF-8.
        """
        self._relay.counters.messages += 1
        now = time.time()
        protocol = self._protocol
        effects: Iterable[Effect]
        try:
            message = parse_client_message(text) if text is not None else None
        except InvalidMessage as error:
            if isinstance(text, bytes):
                text.decode()  # only here: orjson takes nothing that is not UTF-8
            effects = protocol.refuse(error, now)
        else:
            if text is None or message is None:
                effects = protocol.receive_binary(now)
            elif len(text) > self._most and not _is_signing(message):
                effects = protocol.refuse(_too_large(message, self._most), now)
            elif isinstance(message, Event):  # nearly all that a busy relay reads
                self._publish(message, now)
                return
            else:
                effects = protocol.answer(message, now)
        for effect in effects:
            self._carry_out(effect, now)
            if self._ended:  # it did not read, and the last frame was one too many
                return

    def _publish(self, event: Event, now: float) -> None:
        protocol, outbox = self._protocol, self._outbox
        if not protocol.subscriptions:
            deaf = protocol.challenge_for_deaf(event)
            if deaf is not None:
                outbox.put(deaf)
        ok = self._relay.ingest.submit(event, protocol.address, protocol.pubkeys, now, self._later)
        if ok is None:
            self._pending_saves += 1
            return
        challenge = protocol.challenge_for(ok)
        if challenge is not None:
            outbox.put(challenge)
        outbox.put(ok)

    def _carry_out(self, effect: Effect, now: float) -> None:
        match effect:
            case bytes():
                self._outbox.put(effect)
            case Query(subscription):
                self._queries.subscribe(subscription, now)
            case Unsubscribe(subscription):
                self._queries.unsubscribe(subscription)
            case CountQuery():
                self._queries.count(effect)
            case HangUp():
                self._relay.counters.offenders_closed += 1
                self._spawn(self._close(POLICY_VIOLATION, "too many invalid messages"))

    def _later(self, ok: bytes) -> None:
        """Answer an event that had to be saved first."""
        self._pending_saves -= 1
        self._outbox.put(ok)
        if self._saved is not None:
            self._saved.set()
            self._saved = None

    def _stalled(self) -> None:
        """Drop a client that does not take its answer while others wait for the room."""
        self._relay.counters.slow_clients_closed += 1
        log.info("closed a client that does not take its answer")
        self.drop()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            defect("a task failed", error)

    @property
    def _saves_enough(self) -> bool:
        """Whether so much waits to be stored that no more is to be read."""
        relay = self._relay
        most = relay.policy.limits.max_pending_saves
        return self._pending_saves >= most or relay.ingest.is_full_for(self.address)

    async def _have_room(self) -> None:
        """Read no further from a client that does not read its replies or floods the store."""
        await self._outbox.drained()
        while self._pending_saves and self._saves_enough:
            await self._next_save()

    async def _next_save(self) -> None:
        if self._saved is None:
            self._saved = asyncio.Event()  # one for all who wait: the relay may end as well
        await self._saved.wait()

    async def _send(self, data: bytes) -> None:
        await self._asgi_send({"type": "websocket.send", "text": data.decode()})

    def _overflowed(self) -> None:
        """Drop the slow client, and it alone."""
        self._relay.counters.slow_clients_closed += 1
        log.info("closed a client that does not read", limit_bytes=self._outbox.max_bytes)
        self.drop()

    async def _close(self, code: int, reason: str) -> None:
        await self._outbox.flushed()
        self._outbox.close()
        try:
            await self._asgi_send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, RuntimeError):
            return  # it has gone already

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._left.set()
        for subscription in list(self._protocol.subscriptions.values()):
            self._relay.hub.remove(subscription)
            self._protocol.forget(subscription)
        for task in self._tasks:
            task.cancel()
        self._outbox.close()
        self._relay.connections.discard(self)
        if self._done is not None:
            self._done()


def _is_signing(message: ClientMessage) -> bool:
    return isinstance(message, Event) and message.kind == NOSTR_CONNECT


def _too_large(message: ClientMessage, most: int) -> InvalidMessage:
    reason = f"invalid: too large, over {most} bytes; only kind {NOSTR_CONNECT} may be larger"
    match message:
        case Event() | Auth(Event()):
            event = message if isinstance(message, Event) else message.event
            return InvalidMessage(reason, event_id=event.id)
        case Req() | Count():
            return InvalidMessage(reason, subscription_id=message.subscription_id)
        case _:
            return InvalidMessage(reason)
