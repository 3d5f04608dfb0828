"""A client's end of a link, with relays and a signer that are moved by hand."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bunker_client.request.call import Patience
from bunker_client.request.link import Link
from bunker_core.errors import PoolError
from bunker_core.event import Event, sign_event, verify
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.channel import Channel, rpc_template
from bunker_core.nips.nip46 import Request, Response, parse_message
from bunker_core.pool import ConnectionState, Incoming, Receipt
from bunker_core.pool.publication import Publication

if TYPE_CHECKING:
    from bunker_client.request.progress import Progress

ONE, TWO = "wss://one.example", "wss://two.example"
NOW = 1_700_000_000
PATIENCE = Patience(machine=60, approval=60)


class Subscription:
    """What is listened for; `live` raises when no relay says that it is."""

    def __init__(self, relays: "Relays", wanted: Filter) -> None:
        self.relays, self.wanted = relays, wanted
        self.take: Callable[[Incoming], None] = lambda _: None
        self.closed = self.served = False

    async def live(self, timeout: float, relay_urls: Any = None) -> None:
        self.relays.waits.append(timeout)
        if self.relays.silent:
            raise PoolError("nobody answers")

    async def serve(self, take: Callable[[Incoming], None]) -> None:
        self.take, self.served = take, True
        try:
            await asyncio.Event().wait()
        finally:
            self.served = False

    def close(self) -> None:
        self.closed = True


class Relays:
    """Takes the place of a pool."""

    def __init__(self) -> None:
        self.relay_urls: tuple[str, ...] = (ONE,)
        self.open_relays: tuple[str, ...] = (ONE,)
        self.unreachable = self.silent = False
        self.entered = self.hurried = 0
        self.ahead = 0.0  # seconds of the relays' clocks before ours
        self.sent: list[Publication] = []
        self.forgotten: list[Publication] = []
        self.checked: list[Any] = []
        self.subscriptions: list[Subscription] = []
        self.waits: list[float] = []
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "Relays":
        self.entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.entered -= 1

    async def connected(self, timeout: float) -> None:
        self.waits.append(timeout)
        if self.unreachable:
            raise PoolError("no relay is there")

    def subscribe(self, wanted: Filter) -> Subscription:
        self.subscriptions.append(Subscription(self, wanted))
        return self.subscriptions[-1]

    def publish(self, event: Event, on_receipt: Callable[[Receipt], None]) -> Publication:
        sent = Publication(event, self.relay_urls, self.forgotten.append, on_receipt)
        self.sent.append(sent)
        self._changed.set()
        return sent

    async def has_sent(self, number: int) -> None:
        """Return when so many events were sent."""
        async with asyncio.timeout(60):
            while len(self.sent) < number:
                self._changed.clear()
                await self._changed.wait()

    def add_relay(self, url: str) -> None:
        self.relay_urls = tuple(dict.fromkeys((*self.relay_urls, url)))

    async def remove_relay(self, url: str) -> None:
        self.relay_urls = tuple(item for item in self.relay_urls if item != url)

    def hurry(self) -> None:
        self.hurried += 1

    def check(self, relays: Iterable[str]) -> None:
        self.checked.append(set(relays))

    def status(self) -> dict[str, tuple[ConnectionState, str | None]]:
        return dict.fromkeys(self.relay_urls, (ConnectionState.CONNECTING, "refused"))

    def describe_errors(self) -> str:
        return "refused"

    def now(self) -> float:
        return NOW + self.ahead


class End:
    """A link, its relays, and the signer at the other end."""

    def __init__(self, *, known: bool = True, **options: Any) -> None:
        self.key, self.signer = SecretKey.generate(), SecretKey.generate()
        self.steps: list[Progress] = []
        self.strangers: list[tuple[str, Any]] = []
        given: Any = {"clock": lambda: NOW, "on_progress": self.steps.append, **options}
        self.link = Link(
            self.key,
            [ONE],
            self.signer.pubkey if known else None,
            given,
            lambda author, message: self.strangers.append((author, message)),
        )
        self.relays = Relays()
        self.link.pool = self.relays  # type: ignore[assignment]

    async def __aenter__(self) -> "End":
        await self.link.__aenter__()
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.__aexit__()

    async def begin(self, method: str = "sign_event", patience: Patience = PATIENCE) -> Any:
        """Begin a call; return its task."""
        call = asyncio.create_task(self.link.call(method, ["x"], patience))
        await settle()
        return call

    def request(self, at: int = -1) -> Request:
        """Return what was sent, as the signer reads it."""
        text, _ = self._channel(self.signer).open(self.relays.sent[at].event.content)
        message = parse_message(text)
        assert isinstance(message, Request)
        return message

    async def hear(
        self, message: Response | Request | str, author: SecretKey | None = None
    ) -> None:
        """Have an event come from the signer, or from somebody else."""
        key = author or self.signer
        text = message if isinstance(message, str) else message.to_json()
        content = self._channel(key).seal(text)
        event = verify(sign_event(rpc_template(content, self.key.pubkey, NOW), key))
        self.relays.subscriptions[-1].take(Incoming(event, ONE))
        await settle()

    async def answer(self, result: str | None = "done", error: str | None = None) -> None:
        """Answer what was sent last."""
        await self.hear(Response(self.request().id, result, error))

    def receipt(self, *, accepted: bool = True, reason: str = "", at: int = -1) -> None:
        self.relays.sent[at].record(Receipt(ONE, accepted, reason))

    def _channel(self, key: SecretKey) -> Channel:
        peer = self.key.pubkey
        return Channel(peer, nip44.conversation_key(key.shared_x(peer)), key.shared_x)


async def settle() -> None:
    """Let everything happen that waits for nobody."""
    for _ in range(30):
        await asyncio.sleep(0)
