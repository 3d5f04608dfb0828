"""What the console asks of the running signer: the one file that knows the agent and its store."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from bunker_core.nips.bunker_uri import BunkerURI, NostrConnectURI, new_secret
from bunker_signer.approvers.inbox import Inbox
from bunker_signer.approvers.lookup import MAX_CHOSEN, OwnerRelays
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import KeyStore
from bunker_signer.policy import Grant
from bunker_signer.service.agent import Agent
from bunker_signer.service.panic import panic
from bunker_signer.store import audit_log, clients, grants, settings
from bunker_signer.store.audit_chain import AuditEntry
from bunker_signer.store.audit_log import AuditFilter
from bunker_signer.store.clients import Client

MAX_NAME: Final = 64  # characters of the owner's name for an app


@dataclass(frozen=True, slots=True)
class App:
    """A paired client and what it may do."""

    client: Client
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Relay:
    """A connection. Times are seconds; `error` is the last one, in words."""

    url: str
    open: bool
    state: str
    round_trip: float | None
    error: str


class Signer:
    """The running signer. Every change is in the audit log with who made it."""

    def __init__(
        self,
        agent: Agent,
        keystore: KeyStore,
        own_relays: OwnerRelays,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._agent = agent
        self._keystore = keystore
        self._own_relays = own_relays
        self._clock = clock

    # Keys.

    @property
    def identities(self) -> tuple[Identity, ...]:
        return tuple(self._agent.identities.values())

    def identity(self, name: str) -> Identity:
        """Return the key called `name`; raises BunkerError."""
        return self._agent.identity(name)

    def lock(self, identity: Identity, by: str) -> None:
        """Lock a key: requests wait for the unlock."""
        identity.access.lock(by)

    async def unlock(self, identity: Identity, passphrase: bytearray | None, by: str) -> None:
        """Unlock a key, by its passphrase or the master key; raises NSEError and AccessError."""
        opening = partial(self._keystore.unlock, identity.user, passphrase)
        await identity.access.unlock(opening, by, on_machine=False)

    def pause(self, identity: Identity, by: str) -> None:
        """Refuse what is asked of a key until it is resumed; raises AccessError."""
        identity.access.pause(by)

    def resume(self, identity: Identity, by: str) -> None:
        """End a pause."""
        identity.access.resume(by)

    def panic(self, inbox: Inbox, by: str) -> dict[str, Any]:
        """Lock everything, forget every app, device and passkey; only the command line ends it."""
        return panic(self._agent, inbox, self._keystore.data, by, self._clock)

    def owner_seen(self) -> None:
        """Note a sign of the owner: what locks keys when there is none for long waits anew."""
        self._agent.on_owner()

    # Apps.

    def apps(self) -> tuple[App, ...]:
        """Return all paired apps, the one heard of last first."""
        with self._agent.database.read() as connection:
            found = [
                App(item, grants.of(connection, item.key_name, item.pubkey))
                for item in clients.every(connection)
            ]
        return tuple(sorted(found, key=lambda app: -app.client.last_seen))

    def app(self, key_name: str, pubkey: str) -> App | None:
        """Return one app."""
        with self._agent.database.read() as connection:
            client = clients.find(connection, key_name, pubkey)
            if client is None:
                return None
            return App(client, grants.of(connection, key_name, pubkey))

    def rename(self, key_name: str, pubkey: str, name: str, by: str) -> None:
        """Give an app the owner's name for it."""
        with self._agent.database.write() as connection:
            if clients.rename(connection, key_name, pubkey, name[:MAX_NAME]):
                self._note(connection, "rename", key_name, pubkey, by, param=name[:MAX_NAME])

    def revoke(self, key_name: str, pubkey: str, by: str) -> bool:
        """End an app's session and take all its grants; return whether it was paired."""
        with self._agent.database.write() as connection:
            client = clients.find(connection, key_name, pubkey)
            gone = clients.remove(connection, key_name, pubkey)
            if client is not None and gone:
                name = client.metadata.name
                self._note(connection, "revoke", key_name, pubkey, by, param=name)
        self._agent.identity(key_name).forget_channel(pubkey)
        return gone

    def take_rule(
        self, key_name: str, pubkey: str, method: str, param: str | None, by: str
    ) -> bool:
        """Take back what an "always" gave; return whether it was there."""
        app = self.app(key_name, pubkey)
        held = app.grants if app else ()
        wanted = [item.id for item in held if (item.method, item.param) == (method, param)]
        taken = [self.take_grant(key_name, pubkey, number, by) for number in wanted]
        return any(taken)

    def take_grant(self, key_name: str, pubkey: str, grant_id: int, by: str) -> bool:
        """Take one grant from an app; one of another app is none of this."""
        with self._agent.database.write() as connection:
            held = grants.of(connection, key_name, pubkey)
            grant = next((item for item in held if item.id == grant_id), None)
            if grant is None or not grants.remove(connection, grant_id):
                return False
            self._note(
                connection, "revoke grant", key_name, pubkey, by,
                method=grant.method, param=grant.param or "",
            )  # fmt: skip
        return True

    def invite(self, identity: Identity, granted: tuple[Grant, ...]) -> BunkerURI:
        """Return a URI that pairs one app, once, within a day."""
        self.owner_seen()
        return self._agent.invite(identity, new_secret(), granted)

    async def accept(
        self, identity: Identity, uri: NostrConnectURI, granted: tuple[Grant, ...]
    ) -> bool:
        """Pair the app that made a nostrconnect:// URI; return whether it could be told."""
        return await self._agent.accept(identity, uri, granted)

    # The owner's own relays, where their lists are.

    @property
    def given_relays(self) -> tuple[str, ...]:
        """Those that were named at the start, by `--own-relay`."""
        return self._own_relays.given

    @property
    def chosen_relays(self) -> tuple[str, ...]:
        """Those that were added here."""
        return self._own_relays.chosen

    def add_own_relay(self, relay: str, by: str) -> bool:
        """Ask one more relay for the owner's lists; return False where there are too many."""
        if relay in (*self.given_relays, *self.chosen_relays):
            return True
        if len(self.chosen_relays) >= MAX_CHOSEN:
            return False
        self._choose_relays((*self.chosen_relays, relay), "add own relay", relay, by)
        return True

    def remove_own_relay(self, relay: str, by: str) -> bool:
        """Ask a relay that was added here no more; return whether it was."""
        left = tuple(url for url in self.chosen_relays if url != relay)
        if left == self.chosen_relays:
            return False
        self._choose_relays(left, "remove own relay", relay, by)
        return True

    def _choose_relays(self, chosen: tuple[str, ...], action: str, relay: str, by: str) -> None:
        with self._agent.database.write() as connection:
            settings.set_own_relays(connection, chosen)
            self._note(connection, action, "", "", by, param=relay)
        self._own_relays.chosen = chosen

    # Activity.

    def entries(self, wanted: AuditFilter, last: int | None = None) -> tuple[AuditEntry, ...]:
        """Return audit entries, the newest first."""
        with self._agent.database.read() as connection:
            return tuple(audit_log.entries(connection, wanted, last))[::-1]

    async def requests_by_day(
        self, since: int, client_pubkey: str | None = None
    ) -> dict[tuple[int, str], int]:
        """Return how many requests apps made, by the day since 1970 and the app's pubkey.

        In a thread: a log of a million entries takes a second, and requests go on.
        """

        def count() -> dict[tuple[int, str], int]:
            with self._agent.database.read() as connection:
                return audit_log.requests_by_day(connection, since, client_pubkey)

        return await asyncio.to_thread(count)

    def names(self, pubkeys: Iterable[str]) -> dict[str, tuple[tuple[int, str], ...]]:
        """Return what apps were called, each with the number of the entry that named it."""
        with self._agent.database.read() as connection:
            return audit_log.names(connection, pubkeys)

    # Health.

    async def relays(self) -> tuple[Relay, ...]:
        """Return the connections, our own relays first, each asked for a sign of life."""
        pool = self._agent.pool
        round_trips = await pool.round_trips()
        found = [
            Relay(url, url in pool.open_relays, state.value, round_trips.get(url), error or "")
            for url, (state, error) in pool.status().items()
        ]
        return tuple(sorted(found, key=lambda relay: relay.url not in self._agent.relays))

    def _note(
        self,
        connection: Connection,
        action: str,
        key_name: str,
        pubkey: str,
        by: str,
        **facts: str,
    ) -> None:
        audit_log.append(
            connection,
            int(self._clock()),
            action,
            key_name,
            client_pubkey=pubkey,
            decided_by=by,
            **facts,
        )
