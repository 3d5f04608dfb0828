"""Several hosts as one relay: events over NATS, to the hosts that want them alone.

Subjects are PREFIX.event.KIND.RECIPIENT.ID, so that a host subscribes to what its clients ask for
and the server sends it nothing else. Whether anybody got an event comes back on an inbox; the
server itself says when nobody listens. When NATS is lost the relay goes on for its own clients.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import nats
import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, is_hex, parse_event_json
from bunker_core.filter import Filter
from bunker_relay.config import NatsSettings
from bunker_relay.logs import defect, log
from bunker_relay.nodes.bus import (
    LINGER,
    MAX_WAKING,
    Answer,
    Interests,
    Node,
    Polls,
    recipients_of,
)

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from bunker_relay.metrics import Counters

ORIGIN_BYTES: Final = 16  # that an event begins with: which relay sent it
_MANY: Final = 16  # recipients, beyond which an event goes to every host, once
_NOBODY: Final = "-"  # stands for the recipient of an event that has none
_PATIENCE: Final = 0.5  # seconds for an answer
_JOIN: Final = 2.0  # seconds that a start waits for the first connection
_SETTLE: Final = 2.0  # seconds that EOSE waits for the server
_RETRY: Final = 0.5  # seconds between two attempts to reach a server

_Step = tuple[str, str, str, bytes]  # what, subject or topic, reply, payload


class Nats:
    """The other hosts, as a `bus.Bus`."""

    alone = False

    def __init__(
        self,
        node: Node,
        counters: "Counters",
        settings: NatsSettings,
        *,
        password: str | None,
        origin: bytes,
        max_event_bytes: int,
    ) -> None:
        """`origin` is this relay's among all: what comes with it is its own echo.

        With a `password` what comes is believed; else each signature is checked again.
        """
        self._node = node
        self._counters = counters
        self._settings = settings
        self._password = password
        self._origin = origin
        self._max_bytes = ORIGIN_BYTES + max_event_bytes
        self._prefix = settings.prefix
        self._trusted = password is not None
        self._interests = Interests()
        self._subscriptions: dict[str, Subscription] = {}
        self._steps: deque[_Step] = deque()
        self._more = asyncio.Event()
        self._flushes: deque[asyncio.Future[None]] = deque()
        self._client: Client | None = None
        self._connected = False
        self._came_up = asyncio.Event()
        self._went_down = False
        self._unsettled = 0
        self._inbox = ""
        self._polls = Polls(_PATIENCE, hears_all=False)
        self._running: asyncio.Task[None] | None = None

    @property
    def settled(self) -> bool:
        """Whether the server knows of all that this host listens to."""
        return not self._unsettled or not self._connected

    @property
    def gauges(self) -> dict[str, float]:
        """Whether NATS is reached."""
        return {"bus_connected": float(self._connected)}

    async def open(self) -> None:
        """Connect, and go on without if that takes long: it comes when NATS does."""
        self._running = asyncio.get_running_loop().create_task(self._run())
        with suppress(TimeoutError):
            async with asyncio.timeout(_JOIN):
                await self._came_up.wait()
        if not self._connected:
            self._lost()

    async def close(self) -> None:
        """Send what waits, and disconnect."""
        await self.settle()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._client is not None:
            self._connected = False
            await self._client.close()

    def publish(self, event: Event, answer: Answer | None) -> bool:
        """Send an event; the answer comes from the other hosts, or from NATS when there is none."""
        if not self._connected:
            return False
        subjects = [*self._subjects(event)]
        reply = ""
        if answer is not None:
            number = self._polls.begin(answer, len(subjects))
            reply = f"{self._inbox}.{number}"
        body = self._origin + event.to_json()
        for subject in subjects:
            self._step("publish", subject, reply, body)
        self._counters.bus_sent += 1
        return True

    def listen(self, filters: Iterable[Filter]) -> None:
        """Subscribe to the topics that are new."""
        for topic in self._interests.add(filters):
            self._unsettled += 1
            self._step("subscribe", topic)

    def forget(self, filters: Iterable[Filter]) -> None:
        """Unsubscribe from the topics that nobody wants, if that stays so for a while."""
        gone = self._interests.remove(filters)
        if gone:
            asyncio.get_running_loop().call_later(LINGER, self._drop, gone)

    async def settle(self) -> None:
        """Wait until the server has done all that it was asked for, and has sent what it had."""
        if not self._connected:
            return
        seen = self._unsettled
        flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append(flushed)
        self._step("flush")
        with suppress(TimeoutError):
            await asyncio.wait_for(flushed, _SETTLE)
        self._unsettled -= min(seen, self._unsettled)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message to every host."""
        if self._connected:
            body = self._origin + orjson.dumps(message)
            self._step("publish", f"{self._prefix}.tell", "", body)

    # --- out -----------------------------------------------------------------------------------

    def _subjects(self, event: Event) -> Iterator[str]:
        recipients = recipients_of(event)
        if len(recipients) > _MANY:
            yield f"{self._prefix}.many"
            return
        for recipient in sorted(recipients) or (_NOBODY,):
            yield f"{self._prefix}.event.{event.kind}.{recipient}.{event.id}"

    def _step(self, what: str, subject: str = "", reply: str = "", payload: bytes = b"") -> None:
        self._steps.append((what, subject, reply, payload))
        self._more.set()

    def _drop(self, topics: list[str]) -> None:
        for topic in self._interests.drop(topics):
            self._step("unsubscribe", topic)

    async def _run(self) -> None:
        """Stay connected."""
        while True:
            try:
                client = await self._connect()
                self._client = client
                self._inbox = client.new_inbox()
                self._subscriptions = {}
                self._steps.clear()  # what waited for a connection that is no more
                for flushed in self._flushes:
                    flushed.cancel()
                self._flushes.clear()
                await client.subscribe(f"{self._inbox}.*", cb=self._answered)
                await client.subscribe(f"{self._prefix}.tell", cb=self._told)
                await client.subscribe(f"{self._prefix}.many", cb=self._received)
                for topic in list(self._interests.told):
                    await self._take(client, ("subscribe", topic, "", b""))
                await _flush(client)
                self._went_down = False
                self._connected = True
                if self._counters.bus_lost:
                    log.info("NATS is back")
                self._came_up.set()
                await self._send(client)
            except (OSError, TimeoutError, nats.errors.Error) as error:
                log.debug("NATS is not reached", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 -- the bus has to come back
                defect("the bus failed", error)
            if self._connected:
                self._lost()
            if self._client is not None:
                await self._client.close()
                self._client = None
            await asyncio.sleep(_RETRY)

    async def _connect(self) -> Client:
        settings = self._settings
        return await nats.connect(
            list(settings.servers),
            user=settings.user,
            password=self._password,
            no_echo=True,
            allow_reconnect=False,  # `_run` does, and knows what is to be subscribed to
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            disconnected_cb=self._disconnected,
            closed_cb=self._disconnected,
            error_cb=self._failed,
        )

    async def _send(self, client: Client) -> None:
        """Do what is asked for, in order, until the connection is lost."""
        while not self._went_down:
            while self._steps:
                await self._take(client, self._steps.popleft())
            self._more.clear()
            await self._more.wait()

    async def _take(self, client: Client, step: _Step) -> None:
        what, subject, reply, payload = step
        match what:
            case "publish":
                try:
                    await client.publish(subject, payload, reply)
                except nats.errors.MaxPayloadError:
                    self._counters.bus_lost += 1
                    log.warning(
                        "an event is larger than NATS takes", limit_bytes=client.max_payload
                    )
            case "subscribe":
                if subject not in self._subscriptions:
                    self._subscriptions[subject] = await client.subscribe(
                        f"{self._prefix}.event.{subject}", cb=self._received
                    )
            case "unsubscribe":
                subscription = self._subscriptions.pop(subject, None)
                if subscription is not None and subject not in self._interests.told:
                    await subscription.unsubscribe()
            case "flush":
                await _flush(client)
                flushed = self._flushes.popleft()
                if not flushed.done():
                    flushed.set_result(None)

    # --- in ------------------------------------------------------------------------------------

    async def _received(self, message: Msg) -> None:
        """Take an event of another host."""
        data = message.data
        if data[:ORIGIN_BYTES] == self._origin:
            return
        try:
            if not ORIGIN_BYTES < len(data) <= self._max_bytes:
                raise InvalidEvent("too large, or empty")
            event = parse_event_json(data[ORIGIN_BYTES:])
            receivers = self._node.receive(event, trusted=self._trusted)
        except InvalidEvent:
            self._counters.bus_malformed += 1
            return
        self._counters.bus_received += 1
        if message.reply and self._client is not None:
            self._step("publish", message.reply, "", b"%d" % receivers)

    async def _answered(self, message: Msg) -> None:
        """Take what is said to an event of ours: how many got it, or that nobody listens."""
        with suppress(ValueError):
            number = int(message.subject.rpartition(".")[2])
            if (message.headers or {}).get("Status") == "503":
                self._polls.add(number, 0)
            else:  # how many will answer nobody knows
                self._polls.note(number, int(message.data))

    async def _told(self, message: Msg) -> None:
        """Take the one message that hosts have for each other; all else is for workers."""
        if message.data[:ORIGIN_BYTES] == self._origin:
            return
        try:
            told = orjson.loads(message.data[ORIGIN_BYTES:])
            waking = told["waking"]
            if len(waking) > MAX_WAKING or not all(is_hex(pubkey, 64) for pubkey in waking):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            self._counters.bus_malformed += 1
            return
        await self._node.told({"waking": waking})

    async def _disconnected(self) -> None:
        self._went_down = True
        self._more.set()

    async def _failed(self, error: Exception) -> None:
        log.debug("NATS", error=type(error).__name__)
        if isinstance(error, nats.errors.SlowConsumerError):
            self._counters.bus_lost += 1

    def _lost(self) -> None:
        self._connected = False
        self._counters.bus_lost += 1
        log.error(
            "NATS is lost: until it is back clients hear only who is on the same host",
            advice="look at the server, at nats.servers and at the password",
        )


async def _flush(client: Client) -> None:
    """Return when the server has done all that it was sent.

    Twice: nats-py sends the ping of a flush at once, ahead of subscriptions that wait to be
    written, which are then on their way when the second comes.
    """
    await client.flush()
    await client.flush()
