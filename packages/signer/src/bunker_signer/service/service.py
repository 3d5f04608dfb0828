"""A whole signer from its parts: what `bunker signer run` runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bunker_signer.approvers.inbox import Inbox
from bunker_signer.approvers.known import FILE_NAME as KNOWN_FILE
from bunker_signer.approvers.known import KnownOwner
from bunker_signer.approvers.lookup import OwnerRelays
from bunker_signer.approvers.notify import Notice, Notifier, parse_hook
from bunker_signer.key.access import Access, steady_seconds
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import KeyStore
from bunker_signer.process.metrics import Metrics
from bunker_signer.request.approval import DEADLINE, Approvals, Approver
from bunker_signer.request.handler import CLIENT_RATE
from bunker_signer.request.jobs import Jobs
from bunker_signer.service.agent import START_TIMEOUT, Agent
from bunker_signer.service.kill_switch import KillSwitch
from bunker_signer.service.panic import panic
from bunker_signer.service.watch import Watch
from bunker_signer.store import Database, Writer, settings
from bunker_signer.store.database.engine import FILE_NAME
from bunker_signer.store.database.space import Space


@dataclass(frozen=True, slots=True)
class Config:
    """What an owner can set."""

    data: Path
    relays: tuple[str, ...]
    keys: tuple[str, ...] = ()  # names; none means all there are, or the default one
    master_key_file: Path | None = None
    database: str = ""  # SQLAlchemy URL; SQLite in `data` unless given
    ask: bool | None = None  # hold what no grant covers; None: if there is anyone to ask
    approval_timeout: float = DEADLINE
    notify: tuple[str, ...] = ()
    link: str = ""  # where a notification leads; {id} becomes the question's
    auth_url: str = ""  # where a client is told to send its user
    auto_lock: float | None = None  # seconds
    audit_days: int = 0
    client_rate: float = CLIENT_RATE  # requests a second of one client
    silence: float | None = None  # seconds without a sign of the owner after which keys are locked
    panic_by: tuple[str, ...] = ()  # pubkeys whose private message is a panic
    panic_relays: tuple[str, ...] = ()  # where such messages come to, beside `relays`
    own_relays: tuple[str, ...] = ()  # where the owner's lists are looked up, too


@dataclass(slots=True)
class Service:
    """A running signer."""

    config: Config
    keystore: KeyStore
    agent: Agent
    approvals: Approvals
    inbox: Inbox
    notifier: Notifier
    jobs: Jobs
    watch: Watch
    own_relays: OwnerRelays
    opened_with: str = field(default="")

    @property
    def identities(self) -> list[Identity]:
        return list(self.agent.identities.values())


def open_database(data: Path, url: str = "") -> Database:
    """Open the database of the signer in `data`; raises StoreError."""
    return Database(url or data / FILE_NAME)


@asynccontextmanager
async def running(
    config: Config,
    approvers: Sequence[Approver] = (),
    *,
    more_known: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = steady_seconds,
) -> AsyncIterator[Service]:
    """Run a signer while in the block. `approvers` are asked beside the inbox and the hooks.

    `more_known` is called when an open question can say more than it did.

    Raises BunkerError, and leaves nothing behind, when it can't start. The caller holds the data
    directory and takes requests by `Service.agent.serve`.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        hooks = [parse_hook(text) for text in config.notify]
        notifier = Notifier(hooks, config.link, clock)
        stack.push_async_callback(notifier.close)
        keystore = KeyStore(config.data, config.master_key_file)
        pairs = keystore.open(config.keys)
        for pair in pairs:
            stack.callback(pair.transport.close)
            pair.transport.keep_open()
            stack.callback(pair.user.close)
        database = open_database(config.data, config.database)
        stack.callback(database.close)
        writer = Writer(database)
        stack.callback(writer.close)
        with database.write() as connection:
            settings.set_relays(connection, config.relays)
            chosen = settings.get_own_relays(connection)
        identities = [
            Identity(
                pair.name,
                pair.transport,
                pair.user,
                Access(
                    pair.name,
                    pair.user,
                    database,
                    auto_lock=config.auto_lock,
                    clock=clock,
                    steady=steady,
                ),
            )
            for pair in pairs
        ]
        inbox = Inbox()
        asked: list[Approver] = []
        ask = config.ask if config.ask is not None else bool(approvers or hooks)
        if ask:
            asked = [*approvers, inbox, *([notifier] if hooks else [])]
        known = KnownOwner(config.data / KNOWN_FILE, database)
        stack.callback(known.close)
        for identity in identities:
            identity.on_signed = known.listener(identity.name)
        pubkeys = {item.name: item.user_pubkey for item in identities}
        own_relays = OwnerRelays(
            config.own_relays, known, pubkeys.__getitem__, more_known, chosen=chosen
        )
        if asked:
            asked.append(own_relays)
        approvals = Approvals(asked, known=known.of, clock=clock)
        stack.push_async_callback(approvals.close)
        jobs = Jobs(
            writer,
            approvals,
            relays=config.relays,
            space=Space(database.directory),
            deadline=config.approval_timeout,
            auth_url=config.auth_url,
            metrics=metrics,
            clock=clock,
        )
        jobs.on_locked = _notice_of_lock(notifier, config, clock)
        agent = Agent(
            identities,
            database,
            writer,
            jobs,
            config.relays,
            metrics=metrics,
            audit_days=config.audit_days,
            client_rate=config.client_rate,
            other_relays=config.panic_relays,
            clock=clock,
        )
        await stack.enter_async_context(agent)
        watch = Watch(identities, database, notifier.tell, config.silence, clock)
        inbox.on_answer = agent.on_owner = watch.owner_seen
        inbox.is_paired = agent.is_paired
        for identity in identities:
            identity.access.on_owner = watch.owner_seen
        _beside(stack, watch.run())
        if config.panic_by:
            switch = KillSwitch(
                agent.identities,
                database,
                frozenset(config.panic_by),
                lambda by: panic(agent, inbox, config.data, by, clock),
                clock,
            )
            _beside(stack, switch.subscribe(agent.pool).serve(switch.take))
        described = keystore.described
        yield Service(
            config, keystore, agent, approvals, inbox, notifier, jobs, watch, own_relays, described
        )


def _beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until the stack is left."""
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)


async def check_relays(relays: Sequence[str]) -> None:
    """Return if a relay can be reached; raises PoolError."""
    from bunker_core.pool import RelayPool

    async with RelayPool(relays) as pool:
        await pool.connected(START_TIMEOUT)


def _notice_of_lock(
    notifier: Notifier, config: Config, clock: Callable[[], float]
) -> Callable[[Identity], None]:
    """Return what tells the owner that requests wait for an unlock: once for all of them."""
    deadlines: dict[str, float] = {}
    page, one, _ = config.link.partition("{id}")
    link = page.rstrip("/") if one else config.link  # where all requests are, not one

    def tell(identity: Identity) -> None:
        now = clock()
        if identity.waiting and now < deadlines.get(identity.name, 0.0):
            return
        deadlines[identity.name] = now + config.approval_timeout
        notifier.tell(
            Notice(
                "Nostr key locked",
                f"A request waits for the key {identity.name}. Unlock it within "
                f"{config.approval_timeout:.0f} s: bunker signer unlock --key {identity.name}",
                int(now + config.approval_timeout),
                link,
            )
        )

    return tell
