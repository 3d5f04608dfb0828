"""One WebSocket: reads frames, carries out what the session asks for, closes in order."""

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from bunker_core.kinds import is_ephemeral
from bunker_core.messages import Closed, CountReply, Eose, Notice, Ok
from bunker_relay.hub import Subscription
from bunker_relay.outbox import Outbox
from bunker_relay.session import CountQuery, Ingest, Query, Session, Unsubscribe, frame
from bunker_relay.store import StoreError

if TYPE_CHECKING:
    from bunker_core.filter import Filter
    from bunker_relay.relay import Relay


class Connection:
    """One client of the relay."""

    def __init__(self, relay: "Relay", scope: Scope, receive: Receive, send: Send) -> None:
        self._relay = relay
        self._limits = relay.config.limits
        self._receive = receive
        self._asgi_send = send
        # Our server class offers it; elsewhere a slow client is closed the slow way.
        self._abort = scope.get("extensions", {}).get("bunker.abort")
        self._outbox = Outbox(self._send, self._limits.max_outbox_bytes, self._overflowed)
        self._session = Session(
            self._limits,
            challenge=secrets.token_hex(16),
            relay_urls=relay.urls_for(scope),
            write=self._outbox.put,
        )
        self._pending_saves = 0
        self._saved: asyncio.Event | None = None
        self._queries: set[asyncio.Task[None]] = set()
        self._query_turn = asyncio.Lock()
        self._ended = False

    async def run(self) -> None:
        """Serve the client until it, or the relay, closes."""
        if (await self._receive())["type"] != "websocket.connect":
            return
        await self._asgi_send({"type": "websocket.accept"})
        self._relay.connections.add(self)
        self._outbox.put(self._session.greet())
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                self._take(message)
                await self._have_room()
        finally:
            self._end()

    async def shut_down(self) -> None:
        """Tell the client that the relay stops, and close (1012: service restart)."""
        for subscription in list(self._session.subscriptions.values()):
            self._relay.hub.remove(subscription)
            self._outbox.put(frame(Closed(subscription.id, "error: shutting down")))
        self._session.subscriptions.clear()
        await self._outbox.flushed()
        self._outbox.close()
        await self._close(1012, "shutting down")

    def _take(self, message: Any) -> None:
        """Carry out one message, without waiting for anything."""
        text = message.get("text")
        if text is None:
            self._outbox.put(frame(Notice("invalid: binary frames are not for Nostr")))
            return
        now = int(time.time())
        for effect in self._session.receive(text, now):
            match effect:
                case bytes():
                    self._outbox.put(effect)
                case Ingest(event):
                    if self._relay.ingest.submit(event, now, self._reply):
                        self._pending_saves += 1
                case Query(subscription):
                    self._relay.hub.add(subscription)
                    if self._relay.store is None or not needs_store(subscription.filters):
                        self._outbox.put(frame(Eose(subscription.id)))
                        subscription.release(())
                    else:
                        self._spawn(self._send_stored(subscription))
                case Unsubscribe(subscription):
                    self._relay.hub.remove(subscription)
                case CountQuery():
                    self._spawn(self._send_count(effect))

    def _reply(self, ok: Ok) -> None:
        self._outbox.put(frame(ok))
        if self._pending_saves and self._saved is not None:
            self._saved.set()

    async def _send_stored(self, subscription: Subscription) -> None:
        store = self._relay.store
        if store is None:
            raise AssertionError  # the caller has looked
        async with self._query_turn:  # one at a time: a scrape waits behind its own queries
            if subscription.closed:
                return
            try:
                found = await store.query(
                    subscription.filters,
                    int(time.time()),
                    default=self._limits.default_limit,
                    most=self._limits.max_limit,
                )
            except StoreError as error:
                if not subscription.closed:
                    self._refuse(subscription, f"error: {error}")
                return
            for stored in found:
                if subscription.closed:
                    return
                subscription.send_stored(stored.json)
                await self._outbox.drained()
            if not subscription.closed:
                self._outbox.put(frame(Eose(subscription.id)))
                subscription.release(stored.id for stored in found)

    def _refuse(self, subscription: Subscription, reason: str) -> None:
        self._relay.hub.remove(subscription)
        self._session.subscriptions.pop(subscription.id, None)
        self._outbox.put(frame(Closed(subscription.id, reason)))

    async def _send_count(self, query: CountQuery) -> None:
        count = 0
        async with self._query_turn:
            if self._relay.store is not None:
                try:
                    count = await self._relay.store.count(query.filters, int(time.time()))
                except StoreError as error:
                    self._outbox.put(frame(Closed(query.subscription_id, f"error: {error}")))
                    return
        self._outbox.put(frame(CountReply(query.subscription_id, count)))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._queries.add(task)
        task.add_done_callback(self._queries.discard)

    async def _have_room(self) -> None:
        """Read no further from a client that does not read its replies."""
        await self._outbox.drained()

    async def _send(self, data: bytes) -> None:
        await self._asgi_send({"type": "websocket.send", "text": data.decode()})

    def _overflowed(self) -> None:
        """Close the slow client, and it alone."""
        if self._abort is not None:
            self._abort()
        self._end()

    async def _close(self, code: int, reason: str) -> None:
        try:
            await self._asgi_send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, RuntimeError):
            return  # it has gone already

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        for subscription in self._session.subscriptions.values():
            self._relay.hub.remove(subscription)
        self._session.subscriptions.clear()
        for task in self._queries:
            task.cancel()
        self._outbox.close()
        self._relay.connections.discard(self)


def needs_store(filters: "tuple[Filter, ...]") -> bool:
    """Tell whether a stored event could match; what remote signing asks for never does."""
    return any(
        not item.never
        and item.limit != 0
        and (item.kinds is None or not all(map(is_ephemeral, item.kinds)))
        for item in filters
    )
