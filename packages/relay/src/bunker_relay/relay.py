"""The parts of one relay and how they hang together."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from bunker_core.bounds.rate import Buckets
from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.local.extras import how_to_install
from bunker_core.nips.nip98 import Authorizations
from bunker_relay.client.admission import Admission
from bunker_relay.client.answers import Answers
from bunker_relay.client.cork import Corks
from bunker_relay.client.fair_reads import FairReads
from bunker_relay.client.parts import Parts
from bunker_relay.config import Config, Profile
from bunker_relay.event.clock import Clock
from bunker_relay.event.hub import Hub, Subscription
from bunker_relay.event.ingest import NOT_STORED, STORE_ADVICE, Ingest
from bunker_relay.event.limits import Budget
from bunker_relay.event.lists import FILE as LISTS
from bunker_relay.event.lists import Lists, ListsError
from bunker_relay.event.moderation import Moderation
from bunker_relay.event.policy import Policy
from bunker_relay.logs import log
from bunker_relay.metrics import Counters
from bunker_relay.nodes.bus import Alone, Bus, Buses
from bunker_relay.nodes.exclusive import LOCK, StartError
from bunker_relay.store.outcome import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from bunker_relay.client.connection import Connection
    from bunker_relay.nodes.mesh import Mesh
    from bunker_relay.nodes.workers import Worker
    from bunker_relay.push.waker import Waker
    from bunker_relay.store.store import Store

_LEAST: Final = 0.5  # seconds, for each step of the end
_SHARE_OF_ADDRESS: Final = 3  # times what one connection's subscriptions may take
_SHARE_OF_ALL: Final = 32
_ALL_FILTERS: Final = 2**62  # their number in all is bounded by their memory
_UNREAD_OF_ADDRESS: Final = 16  # times what one connection may leave unread
_UNREAD_OF_ALL: Final = 64
_LARGE_OF_ADDRESS: Final = 16  # messages over max_message_bytes that may be on their way at once
_LARGE_OF_ALL: Final = 128
_NO_CONTACT: Final = "mailto:owner@localhost.invalid"  # for a relay without a public name


class Relay:
    """One running relay. Made on the event loop's thread; `close` it there."""

    def __init__(self, config: Config, worker: "Worker | None" = None) -> None:
        """Open lists and store; raises ListsError, StoreError.

        `worker` is this process's place among others, None when it is the whole relay.
        """
        self.config = config
        self.lists = Lists(config.data / LISTS)
        self.policy = Policy(config, self.lists)
        self.lists.note_protected()
        self.counters = Counters()
        self.mesh: Mesh | None = None
        self.bus = self._make_bus(worker)
        self.hub = (
            Hub(self.policy.visibility.is_open)
            if self.bus.alone
            else _SharedHub(self.policy.visibility.is_open, self.bus)
        )
        self.database: Path | str | None = None
        self.store: Store | None = None
        if config.profile is not Profile.BUNKER:
            # Imported here: SQLAlchemy is half of the start, and a relay without a database is not
            # to load it.
            from bunker_relay.store import store

            self.database = config.database or config.data / store.FILE
            self.store = store.Store(
                self.database,
                query_timeout=config.store.query_timeout,
                busy_timeout=config.store.busy_timeout,
                keep_days=config.store.keep_days,
            )
        self.moderation = Moderation(self.lists, config.data, self.database)
        self._hiding: asyncio.Future[None] | None = None
        self.ingest = Ingest(config, self.policy, self.hub, self.store, self.counters)
        self.ingest.bus = self.bus
        self.troubles = self.ingest.troubles
        self.clock = self.ingest.clock = Clock(
            self.troubles, config.data / LOCK, config.limits.created_at_upper_limit
        )
        self.clock.begin(time.time())
        if self.database is not None:
            self._look_at_database(self.database)
        self.waker = self._make_waker()
        self.authorizations = Authorizations()
        self.queries = Buckets(config.rates.queries_per_ip)
        self.answers = Answers()
        most = config.limits.max_outbox_bytes
        self.unread = Budget(_UNREAD_OF_ADDRESS * most, _UNREAD_OF_ALL * most)
        self.memory = Budget(*self._memory_bounds())
        self.filters = Budget(config.limits.max_filters_per_ip, _ALL_FILTERS)
        most = config.limits.max_frame_bytes
        self.large = Budget(_LARGE_OF_ADDRESS * most, _LARGE_OF_ALL * most)
        self.connections: set[Connection] = set()
        self.parts = Parts(
            policy=self.policy,
            hub=self.hub,
            ingest=self.ingest,
            store=self.store,
            bus=self.bus,
            queries=self.queries,
            memory=self.memory,
            filters=self.filters,
            large=self.large,
            unread=self.unread,
            answers=self.answers,
            counters=self.counters,
            corks=Corks(),
            fair_reads=FairReads(),
            connections=self.connections,
        )
        self.admission = Admission(config, self.parts, self.lists, self.troubles)
        self._stop_by: float | None = None  # by the loop's clock

    def _look_at_database(self, database: "Path | str") -> None:
        from bunker_relay.store.database.inspect import inspect

        if found := inspect(database):
            self.report_database(found)

    def report_database(self, what: str) -> None:
        """Say what is wrong with the database, unless that was said."""
        self.troubles.report("database", f"{NOT_STORED}: {what}", STORE_ADVICE)

    async def open(self) -> None:
        """Join the other workers and hosts, if there are any."""
        await self.bus.open()

    def configure(self, config: Config) -> None:
        """Take new limits; what is bound at the start (address, data) stays."""
        config = self._keep_what_is_bound(config)
        self.config = config
        self.policy.configure(config)
        self.ingest.configure(config)
        try:
            self.lists.note_protected()
        except ListsError as error:
            log.error("the commands do not know who is protected", reason=str(error))
        self.queries.configure(config.rates.queries_per_ip)
        self.memory.configure(*self._memory_bounds())
        self.filters.configure(config.limits.max_filters_per_ip, _ALL_FILTERS)
        self.admission.configure(config)
        if self.store is not None:
            self.store.query_timeout = config.store.query_timeout
            self.store.keep_days = config.store.keep_days
        self.hang_up_on_deaf()

    def take_lists(self) -> bool:
        """Read the lists if they have changed, and act on them; tell whether they have.

        Whoever is blocked by now is hung up on. What a banned pubkey could still publish until this
        moment is hidden. Raises ListsError.
        """
        before = set(self.lists.banned_pubkeys)
        if not self.lists.load_if_changed():
            return False
        self.hang_up_on_blocked()
        banned = self.lists.banned_pubkeys.keys() - before
        if banned and self.store is not None:
            self._hiding = asyncio.get_running_loop().run_in_executor(None, self._hide, banned)
        return True

    def hang_up_on_blocked(self) -> None:
        """Drop the connections of addresses that are blocked by now."""
        for connection in [item for item in self.connections if self.lists.blocks(item.address)]:
            connection.drop()

    def hang_up_on_deaf(self) -> None:
        """Drop the connections that have asked for what they may not see by now.

        A signer that listened before it was named is one: it comes back, and authenticates.
        """
        for connection in [item for item in self.connections if item.is_deaf]:
            connection.drop()

    def _hide(self, pubkeys: set[str]) -> None:
        try:
            for pubkey in pubkeys:
                self.moderation.hide(pubkey)
        except (OSError, StoreError) as error:
            log.error("could not hide what banned pubkeys had stored", reason=str(error))

    def gauges(self) -> dict[str, float]:
        """Return what goes up and down."""
        return {
            "connections_open": len(self.connections),
            "subscriptions_open": self.hub.subscriptions,
            "subscription_bytes": self.memory.used,
            "unsaved_bytes": self.ingest.unsaved,
            "unread_bytes": self.unread.used,
            "answer_bytes": self.answers.size,
            "grace_bytes": self.ingest.grace.size,
            "saves_waiting": self.store.waiting if self.store is not None else 0,
            **self.bus.gauges,
        }

    async def figures(self) -> dict[str, dict[str, float]]:
        """Return counters and gauges of every worker, by its number; "" when there is but one."""
        own = self._own_figures()
        if self.mesh is None:
            return {"": own}
        found = {str(self.mesh.index): own}
        for answer in await self.mesh.ask({"figures": True}):
            found[str(answer["worker"])] = answer["figures"]
        return found

    async def share(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Tell the other workers, if there are any, and return what they say to it."""
        return [] if self.mesh is None else await self.mesh.ask(message)

    # --- for the bus (see `bus.Node`) ----------------------------------------------------------

    def receive(self, event: Event, *, trusted: bool) -> int:
        """Deliver an event that another node took; raises InvalidEvent."""
        return self.ingest.receive(event, trusted=trusted, now=time.time())

    async def told(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take what another node tells or asks."""
        match message:
            case {"waking": [*recipients]}:
                self.ingest.wake(recipients, time.time())
            case {"figures": _} if self.mesh is not None:
                return {"worker": self.mesh.index, "figures": self._own_figures()}
            case {"lists": _}:
                with contextlib.suppress(ListsError):  # whoever changed them has been told
                    self.take_lists()
            case {"probe": str(pubkey), "on": bool(on)}:
                probes = self.policy.visibility.probes
                (probes.add if on else probes.discard)(pubkey)
            case {"authorization": str(event_id)}:
                return {"used": not self.authorizations.use(event_id, time.time())}
        return {}

    async def announced(self) -> None:
        """Return when the bus has every event that is stored by now."""
        if self.store is not None:
            await self.store.announced()

    # -------------------------------------------------------------------------------------------

    def _memory_bounds(self) -> tuple[int, int]:
        """Return how many bytes the subscriptions of one address, and of all, may take."""
        most = self.policy.max_subscription_bytes
        return _SHARE_OF_ADDRESS * most, _SHARE_OF_ALL * most

    def _own_figures(self) -> dict[str, float]:
        return {**asdict(self.counters), **self.gauges()}

    def _make_waker(self) -> "Waker | None":
        """Return what wakes signers; only a relay that does loads it."""
        config = self.config
        if not config.push.enabled:
            return None
        from bunker_relay.push.subscriptions import Subscriptions
        from bunker_relay.push.waker import Waker

        site = (*config.url, "")[0].replace("wss://", "https://", 1)
        contact = config.push.contact or (site if site.startswith("https://") else _NO_CONTACT)
        waker = Waker(config.push, Subscriptions(config.data), contact)
        self.ingest.wakes = waker.wake
        self.ingest.awake = waker.awake
        return waker

    def _make_bus(self, worker: "Worker | None") -> Bus:
        parts: list[Bus] = []
        if worker is not None:
            from bunker_relay.nodes.mesh import Mesh

            self.mesh = Mesh(
                self, self.counters, index=worker.index, count=worker.count, folder=worker.folder
            )
            parts.append(self.mesh)
        if self.config.nats.servers:
            parts.append(self._make_nats(worker))
        if len(parts) > 1:
            return Buses(*parts)
        return parts[0] if parts else Alone()

    def _make_nats(self, worker: "Worker | None") -> Bus:
        settings = self.config.nats
        try:
            from bunker_relay.nodes.nats_bus import ORIGIN_BYTES, Nats
        except ImportError:
            raise StartError(
                "nats.servers is set, but nats-py is missing: "
                f"{how_to_install('nostr-bunker-relay', 'nats')}"
            ) from None
        password = None
        if settings.password_file is not None:
            try:
                password = settings.password_file.read_text().strip()
            except OSError as error:
                raise StartError(
                    f"can't read nats.password_file {settings.password_file}: {error.strerror}"
                ) from None
        return Nats(
            self,
            self.counters,
            settings,
            password=password,
            origin=worker.origin if worker is not None else secrets.token_bytes(ORIGIN_BYTES),
            max_event_bytes=self.config.limits.max_frame_bytes,
        )

    async def drain(self) -> None:
        """Say goodbye to every client, for at most `shutdown_timeout` seconds with `close`."""
        self._stop_by = asyncio.get_running_loop().time() + self.config.shutdown_timeout
        if not self.connections:
            return
        goodbyes = [asyncio.create_task(item.shut_down()) for item in self.connections]
        _, late = await asyncio.wait(goodbyes, timeout=self._left())
        for task in late:
            task.cancel()
        if late:
            log.warning("clients did not take leave in time", clients=len(late))
        for connection in list(self.connections):
            connection.drop()

    async def close(self) -> None:
        """Commit what waits, close the store and leave the other nodes."""
        self.clock.note(time.time())
        if self.waker is not None:
            await self.waker.close()
        if self.store is not None:
            await self.store.close(self._left())
        try:
            async with asyncio.timeout(self._left()):
                await self.bus.close()
        except TimeoutError:
            log.warning("the other nodes did not take leave in time")

    def _left(self) -> float:
        """Return the seconds that are left to stop in; some are left in any case."""
        now = asyncio.get_running_loop().time()
        stop_by = self._stop_by if self._stop_by is not None else now + self.config.shutdown_timeout
        return max(_LEAST, stop_by - now)

    def _keep_what_is_bound(self, config: Config) -> Config:
        """Return `config` with what this process can't change any more as it was."""
        old = self.config
        kept: dict[str, Any] = {
            name: getattr(old, name)
            for name in (
                "host",
                "port",
                "data",
                "database",
                "workers",
                "metrics",
                "nats",
                "push",
                "plain",
                "ping_interval",
                "ping_timeout",
            )
        }
        kept["limits"] = config.limits.but(
            max_message_bytes=old.limits.max_message_bytes,
            max_signing_bytes=old.limits.max_signing_bytes,
        )
        if (config.profile is Profile.BUNKER) != (old.profile is Profile.BUNKER):
            kept["profile"] = old.profile  # a database does not come and go
        return config.but(**kept)


class _SharedHub(Hub):
    """A hub whose subscriptions the other nodes know of."""

    def __init__(self, is_open: Callable[[Event, Filter], bool], bus: Bus) -> None:
        super().__init__(is_open)
        self._bus = bus

    def add(self, subscription: Subscription) -> None:
        """Enter it here, then tell the others."""
        super().add(subscription)
        self._bus.listen(subscription.filters)

    def remove(self, subscription: Subscription) -> None:
        """Take it out, unless that was done."""
        if not subscription.closed:
            super().remove(subscription)
            self._bus.forget(subscription.filters)
