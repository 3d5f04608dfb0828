"""What a client's case works with: a client in the driver, a relay and a signer of its own."""

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from bunker.conformance.case import Failed, expect
from bunker.conformance.client.driver import Driver, Rejected
from bunker.conformance.client.signer import StageSigner
from bunker.conformance.run import PATIENCE
from bunker.conformance.wire import rpc
from bunker.conformance.wire.stage import StageRelay, stage_relay
from bunker.conformance.wire.trace import Trace
from bunker_core.event import VerifiedEvent, parse_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI, parse_nostrconnect_uri

LOGIN: Final = 15.0  # seconds; libraries wait up to 5 s for what a case leaves out
_names = itertools.count(1)


@dataclass(slots=True)
class Target:
    """The client that is judged: a program that speaks the driver's lines."""

    command: tuple[str, ...]
    patience: float = PATIENCE
    driver: Driver = field(init=False)

    def __post_init__(self) -> None:
        self.driver = Driver(self.command)


@asynccontextmanager
async def running(target: Target) -> AsyncIterator[Callable[[Trace], Any]]:
    """Have the program run, and yield what makes the kit of a case."""
    await target.driver.start()
    try:
        yield lambda trace: kit(target, trace)
    finally:
        await target.driver.end()


@dataclass(slots=True)
class ClientKit:
    """One client of the library under test, with a relay and a signer that are its own."""

    target: Target
    trace: Trace
    name: str
    relays: list[StageRelay]
    signer: StageSigner

    @property
    def relay(self) -> StageRelay:
        """The first relay."""
        return self.relays[0]

    @property
    def patience(self) -> float:
        """Seconds that one call may take; libraries have pauses of their own."""
        return self.target.patience + 5

    async def tell(self, do: str, seconds: float | None = None, **more: Any) -> Any:
        """Give the client an order; raises Rejected, NotOffered or Silence."""
        shown = {key: value for key, value in more.items() if key != "uri"}
        self.trace.add("kit", True, f"{do} {shown or ''}")
        try:
            result = await self.target.driver.tell(self.name, do, seconds or self.patience, **more)
        except Failed as failed:
            self.trace.add("kit", False, f"{do}: {failed}")
            raise
        self.trace.add("kit", False, f"{do}: {result}")
        return result

    async def login(self, seconds: float = LOGIN) -> str:
        """Log in by bunker://; return the user's pubkey as the library tells it."""
        return str((await self.tell("connect", seconds, uri=self.signer.uri))["user"])

    async def invite(self) -> NostrConnectURI:
        """Have the client invite a signer; return its URI once it listens."""
        urls = [relay.url for relay in self.relays]
        told = await self.tell("invite", LOGIN, relays=urls)
        self.trace.add("kit", False, str(told["uri"]))
        uri = parse_nostrconnect_uri(str(told["uri"]))
        await self.relay.until(lambda: self.relay.listens(uri.client_pubkey), self.patience)
        return uri

    async def paired(self) -> str:
        """Return the user's pubkey once the invitation is taken."""
        return str((await self.tell("paired", LOGIN))["user"])

    async def sign(self, content: str = "conformance", **changes: Any) -> VerifiedEvent:
        """Have a note signed; check that it is what was asked for."""
        template = {
            "kind": 1, "content": content, "tags": [["t", "x"]], "created_at": int(time.time()),
        } | changes  # fmt: skip
        signed = verify(parse_event(await self.tell("sign", event=template)))
        expect(signed.pubkey == self.signer.user.pubkey, "signed by another key")
        expect(signed.content == template["content"], "another content is signed")
        return signed

    async def decrypt(self, text: str, scheme: str = "nip44") -> str:
        """Have a text decrypted that a third party encrypted for the user."""
        other = SecretKey.generate()
        payload = rpc.channel(other, self.signer.user.pubkey).seal(text)
        result = await self.tell("decrypt", scheme=scheme, peer=other.pubkey, payload=payload)
        return str(result)

    async def encrypt(self, text: str) -> str:
        """Have a text encrypted; return what the third party reads."""
        other = SecretKey.generate()
        payload = await self.tell("encrypt", scheme="nip44", peer=other.pubkey, text=text)
        return rpc.channel(other, self.signer.user.pubkey).open(str(payload))[0]

    async def rejects(self, call: Awaitable[Any]) -> str:
        """Return what the library tells its caller; raises Failed when it tells no error."""
        try:
            result = await call
        except Rejected as rejected:
            return str(rejected).removeprefix("the library says: ")
        raise Failed(f"it took the answer: {str(result)[:200]}")


def kit(target: Target, trace: Trace) -> AbstractAsyncContextManager[ClientKit]:
    """Make the kit of one case; relays and signer end with it."""

    @asynccontextmanager
    async def context() -> AsyncIterator[ClientKit]:
        async with AsyncExitStack() as stack:
            relays = [await stack.enter_async_context(stage_relay()) for _ in range(2)]
            signer = StageSigner(relays[:1], trace)
            stack.push_async_callback(signer.close)
            yield ClientKit(target, trace, f"c{next(_names)}", relays, signer)

    return context()
