"""The running signer: takes requests from the relays, has them handled, sees the replies home."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final, Self

from bunker_core.errors import BunkerError, PoolError
from bunker_core.event import Event, VerifiedEvent
from bunker_core.filter import Filter
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.bunker_uri import BunkerURI, NostrConnectURI
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import Response, format_permissions
from bunker_core.pool import Incoming, RelayPool, Subscription
from bunker_signer.key.identity import Identity
from bunker_signer.policy import Grant
from bunker_signer.process.logs import get_logger
from bunker_signer.process.metrics import Metrics
from bunker_signer.request.course import Remaining
from bunker_signer.request.delivery import Courier
from bunker_signer.request.handler import CLIENT_RATE, FRESH, MAX_CORRECTION, REMEMBER, Handler
from bunker_signer.request.jobs import Jobs
from bunker_signer.request.keyless import KeylessMethods
from bunker_signer.request.reply import Reply
from bunker_signer.service.housekeeping import Housekeeping
from bunker_signer.store import Database, StoreError, Writer, audit_log, clients, grants, journal

START_TIMEOUT: Final = 10.0  # seconds for a first relay to answer
# Requests that may be worked on at a time, in bytes some tens of MB, and of one client. What waits
# for a person is bounded for each client; the rest is over in a moment, unless our own relays are
# slow.
AT_WORK: Final = 4096
AT_WORK_EACH: Final = 1024

_CLOCK_CHANGE: Final = 60  # seconds by which a clock's error changes before it is told again

log = get_logger(__name__)


class Agent:
    """Serves clients of `identities` on `relays` until the context ends."""

    def __init__(
        self,
        identities: Sequence[Identity],
        database: Database,
        writer: Writer,
        jobs: Jobs,
        relays: Iterable[str],
        *,
        metrics: Metrics | None = None,
        audit_days: int = 0,
        other_relays: Iterable[str] = (),
        client_rate: float = CLIENT_RATE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Audit entries older than `audit_days` are let go; 0 keeps all.

        `client_rate` is how many requests a second one client may send.
        """
        self.identities: Final = {item.remote_signer_pubkey: item for item in identities}
        self.database: Final = database
        self.relays: Final = tuple(relays)
        self.metrics: Final = metrics or Metrics()
        self._writer = writer
        self._jobs = jobs
        self._clock = clock
        self._other_relays = tuple(other_relays)
        keyless = KeylessMethods(database, lambda: self.relays)
        self.handler: Final = Handler(
            self.identities,
            writer,
            keyless,
            jobs,
            self.metrics,
            clock,
            self._corrected,
            client_rate,
        )
        self.pool: Final = RelayPool(
            self._wanted_relays(),
            auth=[item.transport.sign for item in identities],
            on_open=lambda url: self._courier.relay_opened(url),
            clock=clock,
        )
        self._courier = Courier(
            self.pool,
            lambda: self.relays,
            jobs.delivered,
            jobs.too_large,
            metrics=self.metrics,
            clock=clock,
            corrected=self._corrected,
        )
        jobs.on_interim = self._courier.send
        self.housekeeping: Final = Housekeeping(
            identities,
            database,
            self.pool,
            jobs.refusals,
            self._wanted_relays,
            self._tell_of_clock,
            audit_days=audit_days,
            clock=clock,
        )
        self._subscription: Subscription | None = None
        self.on_owner: Callable[[], None] = lambda: None  # called for what the owner does
        self._told_off = 0  # seconds that the owner was told the clock is off
        self._at_work: dict[str, int] = {}  # requests of each client
        self._on_the_way = 0  # requests of all that no task works on
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Connect and subscribe; raises PoolError when no own relay answers in time."""
        await self.pool.__aenter__()
        try:
            await self.pool.connected(START_TIMEOUT)
            # Connected first: by the relay's Date it is known how far our own clock is off.
            wanted = Filter(
                kinds=frozenset({NOSTR_CONNECT}),
                tags=(("p", frozenset(self.identities)),),
                since=int(self._corrected()) - FRESH,
            )
            # `since` holds for what comes later too (NIP-01). The second has no date, so that a
            # client whose clock is far behind is heard, and told; and nothing that a relay stored.
            live = Filter(kinds=wanted.kinds, tags=wanted.tags, limit=0)
            self._subscription = self.pool.subscribe(wanted, live)
            # Only a signer that is subscribed may hand out its URI: what is sent before is lost.
            await self._subscription.live(START_TIMEOUT)
            self._tell_of_clock()
            self._resume()
            self._writer.prepare()
            self._spawn(self.housekeeping.run())
        except BaseException:
            await self.pool.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop taking requests and leave what is undone to the journal."""
        self._closed = True
        if self._subscription:
            self._subscription.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._courier.close()
        self.housekeeping.end()
        await self.pool.__aexit__(None, None, None)

    @property
    def has_room(self) -> bool:
        """Whether there is room on the disk for what has to be written down."""
        return self._jobs.space.enough

    @property
    def live_relays(self) -> tuple[str, ...]:
        """The relays on which requests reach us now."""
        return tuple(self._subscription.live_relays) if self._subscription else ()

    async def serve(self) -> None:
        """Answer requests until the subscription is closed."""
        if self._subscription is None:
            raise RuntimeError("serve is called inside the context")
        await self._subscription.serve(self._take)

    def identity(self, name: str) -> Identity:
        """Return the key called `name`; raises BunkerError."""
        for identity in self.identities.values():
            if identity.name == name:
                return identity
        raise BunkerError(f"there is no key {name} here")

    def is_paired(self, key_name: str, client_pubkey: str) -> bool:
        """Tell whether a client is one still; raises StoreError."""
        with self.database.read() as connection:
            return clients.find(connection, key_name, client_pubkey) is not None

    def invite(self, identity: Identity, secret: str, granted: Iterable[Grant]) -> BunkerURI:
        """Return a URI that pairs one client, which then gets `granted`."""
        now = int(self._clock())
        with self.database.write() as connection:
            clients.add_secret(connection, identity.name, secret, granted, self.relays, now)
        return BunkerURI(identity.remote_signer_pubkey, self.relays, secret)

    async def accept(
        self, identity: Identity, uri: NostrConnectURI, granted: Iterable[Grant]
    ) -> bool:
        """Answer a client's nostrconnect:// invitation; return whether a relay delivered it.

        The permissions in the URI are the client's proposal; `granted` is what it gets. When nobody
        was listening it is taken back: who was no client before is none, and who was has no more.
        Raises PoolError and StoreError.
        """
        if self._subscription is None:
            raise RuntimeError("accept is called inside the context")
        for relay in uri.relays:
            self.pool.add_relay(relay)
        try:
            await self._subscription.live(START_TIMEOUT, uri.relays)
        except PoolError as error:
            raise PoolError(f"{', '.join(uri.relays)}: {error}") from None
        now = int(self._clock())
        with self.database.write() as connection:
            known = clients.find(connection, identity.name, uri.client_pubkey) is not None
            held = grants.of(connection, identity.name, uri.client_pubkey)
            clients.add(
                connection,
                identity.name,
                uri.client_pubkey,
                uri.metadata,
                uri.relays,
                format_permissions(uri.permissions),
                granted,
                now,
            )
            audit_log.append(
                connection,
                now,
                "pair",
                identity.name,
                client_pubkey=uri.client_pubkey,
                param=uri.metadata.name,
                outcome="allowed",
                decided_by="owner",
            )
        # NIP-46: a response without a request, so the id is anything; nostrconnect:// gets the
        # secret, not "ack", because it is what keeps an impostor out. An older client that sent
        # none expects "ack"; the danger is its own, and the owner is told (UNPROTECTED).
        response = Response("connect", uri.secret or "ack")
        reply = Reply(
            identity, uri.client_pubkey, response, Scheme.NIP44, uri.relays, int(self._corrected())
        )
        if await self._courier.deliver(reply):
            return True
        with self.database.write() as connection:
            if known:
                grants.remove_all(connection, identity.name, uri.client_pubkey)
                for grant in held:
                    grants.put(connection, identity.name, uri.client_pubkey, grant, now)
            else:
                clients.remove(connection, identity.name, uri.client_pubkey)
            audit_log.append(
                connection,
                int(self._clock()),
                "unpair",
                identity.name,
                client_pubkey=uri.client_pubkey,
                decided_by="nobody was listening",
            )
        return False

    # --- requests ----------------------------------------------------------------------------

    def _take(self, incoming: Incoming) -> None:
        event, pubkey = incoming.event, incoming.event.pubkey
        busy = self._on_the_way + len(self._tasks) >= AT_WORK
        if busy or self._at_work.get(pubkey, 0) >= AT_WORK_EACH:
            self._turn_away(incoming)
            return
        self._at_work[pubkey] = self._at_work.get(pubkey, 0) + 1
        self._on_the_way += 1
        try:
            self.handler.start(
                event,
                incoming.relay_url,
                partial(self._answer, pubkey),
                partial(self._see_to, event),
            )
        except Exception as error:  # noqa: BLE001 -- one event must not end the signer
            _tell_failure(event, error)
            self._is_done(pubkey)

    def _answer(self, pubkey: str, reply: Reply | None) -> None:
        """Send what is written down; what comes when we stop is left to the journal."""
        if self._closed:
            return
        self._courier.heard_of(pubkey)
        if reply is None:
            self._is_done(pubkey)
        else:  # it calls that whatever becomes of the try
            self._courier.send(reply, partial(self._is_done, pubkey))

    def _see_to(self, event: VerifiedEvent, rest: Remaining) -> None:
        """Have a task do what takes longer than a transaction."""
        if self._closed:
            return
        self._on_the_way -= 1
        self._spawn(self._serve(event, rest))

    def _is_done(self, pubkey: str) -> None:
        self._on_the_way -= 1
        self._leave_work(pubkey)

    def _leave_work(self, pubkey: str) -> None:
        left = self._at_work[pubkey] - 1
        if left:
            self._at_work[pubkey] = left
        else:
            del self._at_work[pubkey]

    async def _serve(self, event: VerifiedEvent, rest: Remaining) -> None:
        try:
            reply = await rest()
        except Exception as error:  # noqa: BLE001 -- one event must not end the signer
            _tell_failure(event, error)
            self._leave_work(event.pubkey)
            return
        self._on_the_way += 1
        self._answer(event.pubkey, reply)

    def _turn_away(self, incoming: Incoming) -> None:
        """Answer a client, once, that this is too much; nothing is kept of the request."""
        try:
            reply = self.handler.turn_away(incoming.event, incoming.relay_url)
            if reply is not None:
                event = reply.event(int(self._corrected()))
                self.pool.publish(event, (*self.relays, *reply.relays)).forget()
        except BunkerError as error:
            log.error("reply failed", client=incoming.event.pubkey, error=str(error))
        except Exception as error:  # noqa: BLE001 -- one event must not cost the connection
            _tell_failure(incoming.event, error)

    def _resume(self) -> None:
        """Take up what an earlier run left in the journal."""
        names = {item.name: item for item in self.identities.values()}
        with self.database.write() as connection:
            journal.clean(connection, int(self._clock()), REMEMBER)
            entries = journal.undone(connection)
        for entry in entries:
            if entry.key_name in names:
                self._spawn(self._resume_one(names[entry.key_name], entry))

    async def _resume_one(self, identity: Identity, entry: journal.Entry) -> None:
        reply = await self._jobs.resume(identity, entry)
        if reply is not None:
            self._courier.send(reply)

    # --- the clock ---------------------------------------------------------------------------

    @property
    def clock_off(self) -> int:
        """Seconds that the relays' clocks are ahead of ours, 0 when that is not worth a word."""
        return round(self.pool.now() - self._clock())

    def _corrected(self) -> float:
        """Return Unix seconds by the clock that clients are compared with: the relays', near ours.

        Requests, their freshness and what they are dated by go by it, on a machine that is minutes
        off. Not the grants: a relay has no say in when they expire.
        """
        now, theirs = self._clock(), self.pool.now()
        return theirs if abs(theirs - now) <= MAX_CORRECTION else now

    def _tell_of_clock(self) -> None:
        """Tell the owner that the machine's clock is off, once until it changes."""
        off = self.clock_off
        if off == 0 or (self._told_off and abs(off - self._told_off) < _CLOCK_CHANGE):
            return
        self._told_off = off
        log.warning(
            "this machine's clock is off: set it by NTP",
            seconds_behind=off,
            served=abs(off) <= MAX_CORRECTION,
        )

    # --- helpers -----------------------------------------------------------------------------

    def _wanted_relays(self) -> tuple[str, ...]:
        mine = [item.name for item in self.identities.values()]
        with self.database.read() as connection:
            theirs = clients.relays(connection, mine)
        return tuple(dict.fromkeys((*self.relays, *self._other_relays, *theirs)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _tell_failure(event: Event, error: Exception) -> None:
    if isinstance(error, StoreError):
        # Nothing was written, so a repetition is looked at afresh.
        log.error("database failed", event_id=event.id, error=str(error))
    else:
        # The type alone: a text could repeat what was to be signed.
        log.error("event failed", event_id=event.id, error=type(error).__name__)
