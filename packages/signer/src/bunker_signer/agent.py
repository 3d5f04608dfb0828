"""The running signer: takes requests from the relays, has them handled, sees the replies home."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Self

from bunker_core.bunker_uri import BunkerURI, NostrConnectURI
from bunker_core.channel import Scheme
from bunker_core.errors import BunkerError, PoolError
from bunker_core.filter import Filter
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nip46 import Permission, Response
from bunker_core.pool import Incoming, RelayPool, Subscription
from bunker_signer.handler import Handler, Keys, Reply
from bunker_signer.store import Store

# Not `limit: 0` and not `since: now`: a request that was sent while we reconnected, or by a client
# whose clock is behind, still has to reach us.
LOOK_BACK: Final = 60  # seconds
START_TIMEOUT: Final = 10.0  # seconds for a first relay to answer
RECEIPT_TIMEOUT: Final = 3.0  # seconds that a relay has for its OK
# Pauses before a reply is sent again, in seconds, when no relay delivered it.
RETRIES: Final = (0.2, 0.5, 1.0, 2.0, 3.0)

log = logging.getLogger(__name__)


class Agent:
    """Serves clients on `relays` until the context ends."""

    def __init__(
        self,
        keys: Keys,
        store: Store,
        handler: Handler,
        relays: Iterable[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._handler = handler
        self._clock = clock
        self.pubkey = keys.transport.get_public_key()
        known = [relay for client in store.clients() for relay in client.relays]
        self._pool = RelayPool([*relays, *known], auth=[keys.transport.sign], clock=clock)
        self._own = tuple(relays)
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Connect and subscribe; raises PoolError when no own relay answers in time."""
        await self._pool.__aenter__()
        try:
            wanted = Filter(
                kinds=frozenset({NOSTR_CONNECT}),
                tags=(("p", frozenset({self.pubkey})),),
                since=int(self._clock()) - LOOK_BACK,
            )
            self._subscription = self._pool.subscribe(wanted)
            await self._pool.connected(START_TIMEOUT)
            # Only a signer that is subscribed may hand out its URI: what is sent before is lost.
            await self._subscription.live(START_TIMEOUT)
        except BaseException:
            await self._pool.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription:
            self._subscription.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.__aexit__(None, None, None)

    async def serve(self) -> None:
        """Answer requests until the subscription is closed."""
        if self._subscription is None:
            raise RuntimeError("serve is called inside the context")
        async for incoming in self._subscription:
            task = asyncio.create_task(self._serve(incoming))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def invite(self, secret: str, permissions: Iterable[Permission]) -> BunkerURI:
        """Return a URI that pairs one client, which then gets `permissions`."""
        self._store.add_secret(secret, permissions, int(self._clock()))
        return BunkerURI(self.pubkey, self._own, secret)

    async def accept(self, uri: NostrConnectURI, permissions: Iterable[Permission]) -> None:
        """Answer a client's nostrconnect:// invitation; raises PoolError or StoreError.

        The permissions in the URI are the client's proposal; `permissions` is what it gets.
        """
        if self._subscription is None:
            raise RuntimeError("accept is called inside the context")
        for relay in uri.relays:
            self._pool.add_relay(relay)
        try:
            await self._subscription.live(START_TIMEOUT, uri.relays)
        except PoolError as error:
            raise PoolError(f"{', '.join(uri.relays)}: {error}") from None
        now = int(self._clock())
        self._store.add_client(uri.client_pubkey, uri.metadata, uri.relays, permissions, now)
        # NIP-46: a response without a request, so the id is anything; nostrconnect:// gets the
        # secret, never "ack", because it is what keeps an impostor out.
        response = Response("connect", uri.secret)
        reply = Reply(uri.client_pubkey, response, Scheme.NIP44, uri.relays, now)
        if not await self._deliver(reply):
            log.warning("client %s could not be reached", uri.client_pubkey)

    async def _serve(self, incoming: Incoming) -> None:
        try:
            reply = await self._handler.handle(incoming.event, incoming.relay_url)
            if reply is None:
                return
            await self._deliver(reply)
            if reply.after:
                reply.after()
        except BunkerError as error:
            log.error("event %s failed: %s", incoming.event.id, error)

    async def _deliver(self, reply: Reply) -> bool:
        """Publish the reply until one relay has delivered it; return whether one has.

        Every attempt is a fresh event: a relay that saw an id before may drop it as a double.
        """
        targets = dict.fromkeys((*self._own, *reply.relays))
        for pause in (*RETRIES, None):
            publication = self._pool.publish(self._handler.seal(reply), targets)
            receipt = await publication.delivered(RECEIPT_TIMEOUT)
            publication.forget()
            if receipt:
                return True
            if pause is not None:
                await asyncio.sleep(pause)
        reasons = "; ".join(f"{r.relay_url}: {r.reason}" for r in publication.receipts.values())
        log.warning("reply to %s is undelivered: %s", reply.client_pubkey, reasons or "no answer")
        return False
