"""What a request meets on its way to the key, without a relay and by a clock that goes by hand."""

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from bunker_core.event import VerifiedEvent, sign_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.channel import Channel, Scheme, rpc_template
from bunker_core.nips.nip46 import ClientMetadata, Request
from bunker_signer.key.access import Access
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import KeyStore
from bunker_signer.policy import Grant
from bunker_signer.process.metrics import Metrics
from bunker_signer.request.approval import Approvals
from bunker_signer.request.decision import Job
from bunker_signer.request.jobs import Jobs
from bunker_signer.request.reply import Reply
from bunker_signer.store import Database, Writer, audit_log, clients, journal
from bunker_signer.store.audit_chain import AuditEntry
from signer.request.support.rig import Owner

OWN, THEIRS, HOME = "wss://own.example", "wss://theirs.example", "wss://home.example"
NOW = 1_700_000_000


class Desk:
    """The jobs of one key, with one client and one owner."""

    def __init__(self, data: Path, *, attended: bool = True, **settings: Any) -> None:
        data.mkdir(exist_ok=True)
        self.keystore = KeyStore(data, None)
        (pair,) = self.keystore.open()
        self.database = Database(data / "signer.sqlite3")
        self.writer = Writer(self.database)
        access = Access("default", pair.user, self.database, clock=lambda: self.now)
        self.identity = Identity("default", pair.transport, pair.user, access)
        self.now = float(NOW)
        self.owner = Owner()
        self.metrics = Metrics()
        self.approvals = Approvals(
            [self.owner] if attended else [], gather=0, clock=lambda: self.now
        )
        self.jobs = Jobs(
            self.writer,
            self.approvals,
            relays=[OWN],
            metrics=self.metrics,
            clock=lambda: self.now,
            **settings,
        )
        self.key = SecretKey.generate()
        self.admit()
        self.uses: list[str] = []
        for name in ("sign", "crypt"):
            setattr(self.identity, name, partial(self._used, getattr(self.identity, name)))

    def admit(self, *granted: Grant) -> None:
        """Pair the client, with these grants."""
        with self.database.write() as to:
            said = ClientMetadata(name="app")
            clients.add(to, "default", self.key.pubkey, said, (HOME,), "", granted, NOW)

    def revoke(self) -> None:
        """Take the client away."""
        with self.database.write() as to:
            clients.remove(to, "default", self.key.pubkey)

    def event(self, request: Request, at: int = NOW) -> VerifiedEvent:
        """Return the event that brings a request."""
        remote = self.identity.remote_signer_pubkey
        shared = nip44.conversation_key(self.key.shared_x(remote))
        text = Channel(remote, shared, self.key.shared_x).seal(request.to_json(), Scheme.NIP44)
        return verify(sign_event(rpc_template(text, remote, at), self.key))

    def job(
        self, method: str, *params: str, rid: str = "1", at: int = NOW, relays: Iterable[str] = ()
    ) -> Job:
        request = Request(rid, method, params)
        with self.database.read() as connection:
            client = clients.find(connection, "default", self.key.pubkey)
        assert client is not None
        event = self.event(request, at)
        brought = {*relays} or {OWN}
        return Job(self.identity, client, event, request, Scheme.NIP44, brought, at, at)

    async def ask(self, method: str, *params: str, **how: Any) -> Reply:
        """Run a request to its end."""
        reply = await self.jobs.run(self.job(method, *params, **how))
        assert reply is not None
        return reply

    def begin(self, method: str, *params: str, **how: Any) -> "asyncio.Task[Reply | None]":
        """Begin a request."""
        return asyncio.create_task(self.jobs.run(self.job(method, *params, **how)))

    async def unlock(self) -> None:
        opening = partial(self.keystore.unlock, self.identity.user, None)
        await self.identity.access.unlock(opening, "test", on_machine=True)

    def audit(self) -> list[AuditEntry]:
        with self.database.read() as at:
            return list(audit_log.entries(at, audit_log.AuditFilter(action="request")))

    def entry(self, digest: str) -> journal.Entry | None:
        """Return what the journal has of a request."""
        self.writer.flush()
        with self.database.read() as at:
            return journal.find(at, digest)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is counted that is over."""
        jobs = self.jobs
        return not (jobs.running or jobs._asked_bytes or jobs._locked_out)

    def close(self) -> None:
        self.writer.close()
        self.identity.close()
        self.database.close()

    def _used(self, use: Any, *args: Any) -> Any:
        self.uses.append(use.__name__)
        return use(*args)


async def settle() -> None:
    """Let everything happen that waits for nobody."""
    for _ in range(30):
        await asyncio.sleep(0)
