"""What a signer's case works with: paired clients, fresh pairings, and relays that go wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from bunker.conformance.case import Failed, NotRun, Silence
from bunker.conformance.run import PATIENCE
from bunker.conformance.signer.client import Client
from bunker.conformance.signer.source import Owned, Running, Source
from bunker.conformance.wire.peer import Peer
from bunker.conformance.wire.stage import StageRelay, stage_relay
from bunker.conformance.wire.trace import Trace
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import BunkerURI, parse_bunker_uri

# What the kit asks to be allowed; kind 7 is not in it, so that there is something to deny.
PERMISSIONS: Final = (
    "sign_event:1,sign_event:3,sign_event:4,nip44_encrypt,nip44_decrypt,nip04_encrypt,nip04_decrypt"
)
METADATA: Final = '{"name":"bunker conformance","url":"https://example.com"}'
_LISTEN: Final = 15.0  # seconds until a signer that prints a URI has to listen


@dataclass(slots=True)
class Paired:
    """A client key that the signer knows."""

    uri: BunkerURI
    key: SecretKey
    user: str


@dataclass(slots=True)
class Target:
    """The signer that is judged."""

    source: Source
    patience: float = PATIENCE
    main: Running | None = field(default=None, init=False)
    relay: StageRelay | None = field(default=None, init=False)
    _paired: Paired | None = field(default=None, init=False)
    _pairing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def paired(self) -> Paired:
        """Return the pairing that most cases share, made by the first of them."""
        async with self._pairing:
            if self._paired is None:
                uri = parse_bunker_uri(await self.fresh_uri())
                trace = Trace()
                async with kit(self, trace) as made:
                    client = await made.client(uri, SecretKey.generate())
                    await made.connect(client, uri)
                    user = (await client.ask("get_public_key")).result
                self._paired = Paired(uri, client.key, user)
            return self._paired

    async def fresh_uri(self) -> str:
        """Return an unused URI of the signer that all cases share; raises NotRun."""
        if self.main is None:
            raise RuntimeError("the signer does not run")
        return await self.main.uri()


@asynccontextmanager
async def running(target: Target) -> AsyncIterator[Callable[[Trace], Any]]:
    """Have the signer run, and yield what makes the kit of a case."""
    async with AsyncExitStack() as stack:
        if isinstance(target.source, Owned):
            target.main = target.source
        else:
            target.relay = await stack.enter_async_context(stage_relay())
            target.main = await target.source.start([target.relay.url])
            stack.push_async_callback(target.main.end)
        await target.paired()
        yield lambda trace: kit(target, trace)


def alone(target: Target) -> Callable[[Trace], AbstractAsyncContextManager[Any]] | None:
    """Return what makes kits with a signer of their own; None when the kit can't start one."""
    if isinstance(target.source, Owned):
        return None

    @asynccontextmanager
    async def context(trace: Trace) -> AsyncIterator[Any]:
        async with (
            running(Target(target.source, target.patience)) as make_kit,
            make_kit(trace) as made,
        ):
            yield made

    return context


@dataclass(slots=True)
class SignerKit:
    """The signer under test, as one case sees it."""

    target: Target
    trace: Trace
    stack: AsyncExitStack
    relays: list[StageRelay] = field(default_factory=list)  # of this case alone

    async def paired(self, relay: int = 0) -> Client:
        """Return a client that the signer knows, on a connection of its own."""
        known = await self.target.paired()
        client = await self.client(known.uri, known.key, relay=relay)
        client.user = known.user
        return client

    async def stranger(self) -> Client:
        """Return a client that the signer has never met."""
        known = await self.target.paired()
        return await self.client(known.uri, SecretKey.generate(), name="stranger")

    async def unused(self) -> BunkerURI:
        """Return a URI that nobody has used, of a new signer if need be; raises NotRun."""
        try:
            text = await self.target.fresh_uri()
        except NotRun:
            if self.target.relay is None:
                raise
            text = await (await self.start(self.target.relay)).uri()
        return parse_bunker_uri(text)

    async def fresh(self, *relays: StageRelay) -> Client:
        """Return a client that has just paired, by a URI of its own; raises NotRun."""
        if relays:
            running = await self.start(*relays)
            uri = parse_bunker_uri(await running.uri())
        else:
            uri = await self.unused()
        client = await self.client(uri, SecretKey.generate())
        await self.connect(client, uri)
        return client

    async def start(self, *relays: StageRelay) -> Running:
        """Start another signer on relays of the kit; raises NotRun."""
        source = self.target.source
        if len(relays) > 1 and not source.several_relays and not isinstance(source, Owned):
            raise NotRun("the command has no {relay}, so it can't be put on two")
        running = await source.start([relay.url for relay in relays])
        self.stack.push_async_callback(running.end)
        return running

    async def accept(self, relay: StageRelay, invitation: str) -> Running:
        """Start a signer that takes an invitation; raises NotRun."""
        running = await self.target.source.accept([relay.url], invitation)
        self.stack.push_async_callback(running.end)
        return running

    async def relay(self) -> StageRelay:
        """Start another relay of the kit."""
        relay = await self.stack.enter_async_context(stage_relay())
        self.relays.append(relay)
        return relay

    async def client(
        self, uri: BunkerURI, key: SecretKey, *, relay: int = 0, name: str = "client"
    ) -> Client:
        """Return a client on one of a URI's relays, subscribed and not paired."""
        self.trace.hide(uri.secret or "", "the secret")
        client = Client(await self.peer(uri.relays[relay], name), key, uri.remote_signer_pubkey)
        await client.listen()
        return client

    async def peer(self, url: str, name: str = "client") -> Peer:
        """Open a connection to a relay."""
        peer = Peer(name, url, self.trace, self.target.patience)
        await peer.open()
        self.stack.push_async_callback(peer.close)
        return peer

    async def connect(self, client: Client, uri: BunkerURI) -> None:
        """Pair as a library does; raises Failed."""
        await self.heard(uri)
        params = (client.signer, uri.secret or "", PERMISSIONS, METADATA)
        try:
            answer = await client.ask("connect", *params)
        except Silence:  # an app tries twice; what one connect is answered is a case of its own
            answer = await client.ask("connect", *params)
        expected = {"ack", uri.secret}
        if answer.result not in expected:
            raise Failed(f"connect was answered with {answer.result!r}")

    async def heard(self, uri: BunkerURI) -> None:
        """Wait until the signer listens, where the relay is the kit's own; raises Failed."""
        own = [*self.relays, *([self.target.relay] if self.target.relay else [])]
        for relay in own:
            if relay.url == uri.relays[0].rstrip("/"):
                listens = partial(relay.listens, uri.remote_signer_pubkey)
                if not await relay.until(listens, _LISTEN):
                    raise Failed("the signer printed its URI and does not listen on the relay")


def kit(target: Target, trace: Trace) -> AbstractAsyncContextManager[SignerKit]:
    """Make the kit of one case; connections, relays and signers of its own end with it."""

    @asynccontextmanager
    async def context() -> AsyncIterator[SignerKit]:
        async with AsyncExitStack() as stack:
            yield SignerKit(target, trace, stack)

    return context()
