"""A signer in this process for tests: real database, real NSE, real relay."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bunker_core.keys import SecretKey
from bunker_core.nips.nip46 import parse_permissions
from bunker_signer.key.identity import Identity
from bunker_signer.policy import Grant, grants_of
from bunker_signer.request.approval import Answer, Approver, Question, Verdict
from bunker_signer.service.agent import Agent
from bunker_signer.service.service import Config, Service, running
from bunker_signer.store import Database, audit_log, clients, grants
from bunker_signer.store.audit_chain import AuditEntry
from signer.request.wire._wire import Wire, wire


@dataclass(slots=True)
class Rig:
    """A running signer and what it is made of."""

    service: Service
    relay: str

    @property
    def agent(self) -> Agent:
        return self.service.agent

    @property
    def identity(self) -> Identity:
        return self.service.identities[0]

    @property
    def database(self) -> Database:
        return self.service.agent.database

    @property
    def pubkey(self) -> str:
        return self.identity.remote_signer_pubkey

    @property
    def user(self) -> str:
        return self.identity.user_pubkey

    def invite(self, secret: str, granted: Iterable[Grant] = ()) -> str:
        """Make `secret` good for one client; return it."""
        uri = self.agent.invite(self.identity, secret, granted)
        assert uri.secret == secret
        return secret

    def clients(self) -> tuple[clients.Client, ...]:
        with self.database.read() as connection:
            return clients.every(connection)

    def grants(self, client: str) -> tuple[Grant, ...]:
        with self.database.read() as connection:
            return grants.of(connection, self.identity.name, client)

    def grant(self, client: str, grant: Grant) -> None:
        with self.database.write() as connection:
            grants.put(connection, self.identity.name, client, grant, int(time.time()))

    def audit(self, action: str | None = None) -> list[AuditEntry]:
        with self.database.read() as connection:
            return list(audit_log.entries(connection, audit_log.AuditFilter(action=action)))

    @asynccontextmanager
    async def client(
        self,
        allow: str = "",
        key: SecretKey | None = None,
        *,
        pair: bool = True,
        granted: Iterable[Grant] = (),
        identity: Identity | None = None,
        relay: str | None = None,
    ) -> AsyncIterator[Wire]:
        """Yield a client that is paired and holds the grants in `allow`."""
        served = identity or self.identity
        async with wire(relay or self.relay, served.remote_signer_pubkey, key) as client:
            if pair:
                given = (*grants_of(parse_permissions(allow)), *granted)
                secret = f"secret-{served.name}-{client.key.pubkey[:8]}"
                self.agent.invite(served, secret, given)
                answer = await client.ask("connect", served.remote_signer_pubkey, secret)
                assert answer.json == {"id": "1", "result": "ack"}
            yield client


@asynccontextmanager
async def rig(
    relay: str,
    data: Path,
    *,
    approver: Approver | None = None,
    relays: Iterable[str] = (),
    clock: Callable[[], float] = time.time,
    **config: Any,
) -> AsyncIterator[Rig]:
    """Run a signer on `relay` that keeps everything in `data`."""
    data.mkdir(parents=True, exist_ok=True)
    settings = Config(data, (relay, *relays), **config)
    approvers = [approver] if approver else []
    async with running(settings, approvers, clock=clock) as service:
        serving = asyncio.create_task(service.agent.serve())
        try:
            yield Rig(service, relay)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@dataclass(slots=True)
class Owner:
    """An approver with a mind of its own: `answers` in turn, or waits for `say`."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    cancelled: int = 0
    _arrived: asyncio.Queue[tuple[Question, asyncio.Future[Answer]]] = field(
        default_factory=asyncio.Queue
    )

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        if self.answers:
            return self.answers.pop(0)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._arrived.put_nowait((question, future))
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def question(self) -> tuple[Question, asyncio.Future[Answer]]:
        """Return the next question that waits, and where its answer goes."""
        async with asyncio.timeout(10):
            return await self._arrived.get()


ONCE = Answer(Verdict.ONCE, "test")
DENY = Answer(Verdict.DENY, "test")
ALWAYS = Answer(Verdict.ALWAYS, "test")
NEVER = Answer(Verdict.NEVER, "test")


def count_key_uses(identity: Identity) -> list[str]:
    """Return a list that grows with each use of the user key."""
    uses: list[str] = []
    for name in ("sign", "crypt"):
        original = getattr(identity, name)

        def recorded(*args: Any, original: Any = original, name: str = name) -> Any:
            uses.append(name)
            return original(*args)

        setattr(identity, name, recorded)
    return uses


async def unlock(signer: Rig, identity: Identity | None = None) -> None:
    """Unlock as the command does."""
    opened = identity or signer.identity
    opening = partial(signer.service.keystore.unlock, opened.user, None)
    await opened.access.unlock(opening, "test", on_machine=True)


@contextmanager
def database_in(path: Path) -> Iterator[Database]:
    """Yield a fresh database."""
    database = Database(path)
    try:
        yield database
    finally:
        database.close()
