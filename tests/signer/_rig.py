"""A signer in this process for tests: real store, real NSE, real relay."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bunker_core.keys import SecretKey
from bunker_core.nip46 import parse_permissions
from bunker_signer.agent import Agent
from bunker_signer.approval import Approver, NobodyThere
from bunker_signer.handler import Handler, Keys
from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.store import Store
from signer._wire import Wire, wire

MASTER = "5f" * 32


@contextmanager
def sealed_keys() -> Iterator[Keys]:
    """Yield two fresh keys in memory."""
    storage = MemoryStorage()
    with NSE(MASTER, storage, "remote-signer") as transport, NSE(MASTER, storage) as user:
        transport.generate()
        user.generate()
        yield Keys(transport, user)


@dataclass(slots=True)
class Rig:
    """A running signer and what it is made of."""

    agent: Agent
    handler: Handler
    store: Store
    keys: Keys
    relay: str

    @property
    def pubkey(self) -> str:
        return self.agent.pubkey

    @property
    def user(self) -> str:
        return self.keys.user.get_public_key()

    @asynccontextmanager
    async def client(
        self, allow: str = "", key: SecretKey | None = None, *, pair: bool = True
    ) -> AsyncIterator[Wire]:
        """Yield a client that is paired and holds the grants in `allow`."""
        async with wire(self.relay, self.pubkey, key) as client:
            if pair:
                uri = self.agent.invite(f"secret-{client.key.pubkey[:8]}", parse_permissions(allow))
                answer = await client.ask("connect", self.pubkey, uri.secret)
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
    keys: Keys | None = None,
) -> AsyncIterator[Rig]:
    """Run a signer on `relay` that keeps its database in `data`."""
    data.mkdir(parents=True, exist_ok=True)
    with sealed_keys() as fresh:
        used = keys or fresh
        store = Store(data / "signer.sqlite3")
        try:
            handler = Handler(used, store, approver or NobodyThere(), clock)
            async with Agent(used, store, handler, (relay, *relays), clock) as agent:
                serving = asyncio.create_task(agent.serve())
                try:
                    yield Rig(agent, handler, store, used, relay)
                finally:
                    serving.cancel()
                    await asyncio.gather(serving, return_exceptions=True)
        finally:
            store.close()
