"""The mesh: a Unix socket from every worker of a relay to every other.

Frames are length-prefixed. What comes from a worker is believed: the sockets lie in a directory
that is its owner's alone, and the kernel says that a process of the same user is at the other end.
"""

import asyncio
import os
import struct
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, parse_event_json
from bunker_core.filter import Filter
from bunker_core.local.sockets import peer_uid
from bunker_relay.logs import defect, log
from bunker_relay.nodes.bus import LINGER, UNKNOWN, Answer, Interests, Node, Polls, matching_topics

if TYPE_CHECKING:
    from bunker_relay.metrics import Counters

_HEAD: Final = struct.Struct("!IBI")  # length of the body, what it is, number
_MAX_FRAME: Final = 64 * 1024 * 1024
_MAX_WAITING: Final = 64 * 1024 * 1024  # bytes that a worker may leave unread
_PATIENCE: Final = 1.0  # seconds for an answer
_RETRY: Final = 0.05  # seconds between two attempts to reach a worker that is starting
_JOIN: Final = 5.0  # seconds that a worker waits for the others before it serves


class What(IntEnum):
    """What a frame's body is; the number of a question is that of its answer, 0 wants none."""

    EVENT = 1  # one that the sender took
    RECEIVERS = 2  # the answer: how many got it
    LISTEN = 3  # topics that the sender wants from now on
    FORGET = 4  # and no longer
    TELL = 5  # a message
    REPLY = 6  # the answer to it


class Mesh:
    """The other workers of this relay, as a `bus.Bus`."""

    alone = False

    def __init__(
        self, node: Node, counters: "Counters", *, index: int, count: int, folder: int
    ) -> None:
        """Worker `index` of `count`; `folder` is the descriptor of the sockets' directory."""
        self._node = node
        self._counters = counters
        self.index = index
        self._count = count
        # Through the descriptor: a socket's path may have 107 bytes, a data directory's more.
        self._folder = f"/proc/self/fd/{folder}"
        self._interests = Interests()
        self._links: set[_Link] = set()
        self._number = 0
        self._polls = Polls(_PATIENCE, hears_all=True)
        self._questions: dict[int, tuple[_Link, asyncio.Future[dict[str, Any]]]] = {}
        self._unsettled = 0  # the latest `listen` that not everyone may know of
        self._server: asyncio.AbstractServer | None = None
        self._dialling: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._joined = asyncio.Event()

    @property
    def settled(self) -> bool:
        """Whether every worker knows what this one listens to."""
        return not self._unsettled or not self._links

    @property
    def gauges(self) -> dict[str, float]:
        """How many of the other workers are reached."""
        return {"workers_linked": len(self._links)}

    async def open(self) -> None:
        """Listen, and reach the workers with a lower number; those with a higher one reach us."""
        loop = asyncio.get_running_loop()
        path = f"{self._folder}/{self.index}"
        _remove(path)
        self._server = await loop.create_unix_server(self._new_link, path)
        self._dialling = [loop.create_task(self._dial(lower)) for lower in range(self.index)]
        try:
            async with asyncio.timeout(_JOIN):
                await self._joined.wait()
        except TimeoutError:
            log.warning("not every worker is there", linked=len(self._links))
        await self.ask({"settle": True})  # they have told by then what they want

    async def close(self) -> None:
        """Leave the others."""
        tasks = [*self._dialling, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()

    def publish(self, event: Event, answer: Answer | None) -> bool:
        """Send an event to the workers that have a subscription for its topics."""
        if not self._links:
            return False
        topics = tuple(matching_topics(event))
        wanting = [link for link in self._links if not link.topics.isdisjoint(topics)]
        if not wanting:
            return False
        number = 0
        if answer is not None:
            number = self._polls.begin(answer, len(wanting))
        body = event.to_json()
        for link in wanting:
            if number:
                link.asked.add(number)
            link.send(What.EVENT, number, body)
        self._counters.bus_sent += len(wanting)
        return True

    def listen(self, filters: Iterable[Filter]) -> None:
        """Tell the others which topics are new here."""
        new = self._interests.add(filters)
        if new and self._links:
            self._unsettled = self._next_number()
            self._broadcast(What.LISTEN, new)

    def forget(self, filters: Iterable[Filter]) -> None:
        """Tell the others which topics nobody here wants, if that stays so for a while."""
        gone = self._interests.remove(filters)
        if gone:
            asyncio.get_running_loop().call_later(LINGER, self._drop, gone)

    async def settle(self) -> None:
        """Ask every worker for a sign of life, which comes after all that it had to say."""
        latest = self._unsettled
        await self.ask({"settle": True})
        if self._unsettled == latest:
            self._unsettled = 0

    def tell(self, message: dict[str, Any]) -> None:
        """Tell every worker something."""
        self._broadcast(What.TELL, message)

    async def ask(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask every worker something and return the answers that come in time."""
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[dict[str, Any]]] = []
        numbers: list[int] = []
        for link in self._links:
            number = self._next_number()
            future: asyncio.Future[dict[str, Any]] = loop.create_future()
            self._questions[number] = (link, future)
            numbers.append(number)
            waiting.append(future)
            link.send(What.TELL, number, orjson.dumps(message))
        if not waiting:
            return []
        try:
            done, _ = await asyncio.wait(waiting, timeout=_PATIENCE)
        finally:
            for number in numbers:
                self._questions.pop(number, None)
        return [future.result() for future in waiting if future in done and not future.cancelled()]

    # --- from the links ------------------------------------------------------------------------

    def linked(self, link: "_Link") -> None:
        """Another worker is there: tell it what is wanted here."""
        self._links.add(link)
        link.send(What.LISTEN, 0, orjson.dumps(list(self._interests.told)))
        if len(self._links) >= self._count - 1:
            self._joined.set()

    def unlinked(self, link: "_Link") -> None:
        """Another worker has gone, and with it its subscriptions."""
        self._links.discard(link)
        for number in link.asked:
            self._polls.add(number, UNKNOWN)
        for asked, future in list(self._questions.values()):
            if asked is link:
                future.cancel()

    def heard(self, link: "_Link", what: int, number: int, body: bytes) -> None:
        """Take one frame; raises ValueError, KeyError or InvalidEvent for what is none."""
        match what:
            case What.EVENT:
                self._counters.bus_received += 1
                receivers = self._node.receive(parse_event_json(body), trusted=True)
                if number:
                    link.send(What.RECEIVERS, number, b"%d" % receivers)
            case What.RECEIVERS:
                link.asked.discard(number)
                self._polls.add(number, int(body))
            case What.LISTEN:
                link.topics.update(orjson.loads(body))
            case What.FORGET:
                link.topics.difference_update(orjson.loads(body))
            case What.TELL:
                self._spawn(self._reply(link, number, orjson.loads(body)))
            case What.REPLY:
                _, future = self._questions.get(number, (None, None))
                if future is not None and not future.done():
                    future.set_result(orjson.loads(body))
            case _:
                raise ValueError

    def malformed(self) -> None:
        """Count a frame that is none."""
        self._counters.bus_malformed += 1
        log.error("a worker sent what can't be read")

    def overfull(self) -> None:
        """Count a worker that does not read."""
        self._counters.bus_lost += 1
        log.error("a worker does not read what it is sent", limit_bytes=_MAX_WAITING)

    # --- inside --------------------------------------------------------------------------------

    async def _dial(self, index: int) -> None:
        """Keep a link to worker `index`."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, link = await loop.create_unix_connection(
                    self._new_link, f"{self._folder}/{index}"
                )
            except OSError:
                await asyncio.sleep(_RETRY)
                continue
            await link.closed.wait()

    def _new_link(self) -> "_Link":
        return _Link(self)

    async def _reply(self, link: "_Link", number: int, message: dict[str, Any]) -> None:
        if "settle" in message:
            await self._node.announced()
            answer: dict[str, Any] = {}
        else:
            answer = await self._node.told(message)
        if number:
            link.send(What.REPLY, number, orjson.dumps(answer))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            defect("a worker's question failed", error)

    def _drop(self, topics: list[str]) -> None:
        gone = self._interests.drop(topics)
        if gone:
            self._broadcast(What.FORGET, gone)

    def _broadcast(self, what: int, message: Any) -> None:
        if self._links:
            body = orjson.dumps(message)
            for link in self._links:
                link.send(what, 0, body)

    def _next_number(self) -> int:
        self._number = self._number % 0xFFFF_FFFF + 1
        return self._number


class _Link(asyncio.Protocol):
    """One socket to one worker."""

    def __init__(self, mesh: Mesh) -> None:
        self.topics: set[str] = set()  # that the worker wants
        self.asked: set[int] = set()  # events whose answer is to come
        self.closed = asyncio.Event()
        self._mesh = mesh
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._read = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Look who is there."""
        if peer_uid(transport.get_extra_info("socket")) != os.geteuid():
            transport.abort()
            return
        self._transport = transport
        self._mesh.linked(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the mesh."""
        if self._transport is not None:
            self._transport = None
            self._mesh.unlinked(self)
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        """Take all frames that are whole."""
        self._read += data
        at, end = 0, len(self._read)
        try:
            while end - at >= _HEAD.size:
                length, what, number = _HEAD.unpack_from(self._read, at)
                if length > _MAX_FRAME:
                    raise ValueError
                if end - at - _HEAD.size < length:
                    break
                start = at + _HEAD.size
                at = start + length
                self._mesh.heard(self, what, number, bytes(self._read[start:at]))
        except (ValueError, KeyError, TypeError, InvalidEvent):
            self._mesh.malformed()
            self.close()
            return
        del self._read[:at]

    def send(self, what: int, number: int, body: bytes) -> None:
        """Send a frame with all others of this turn of the loop."""
        if self._transport is None:
            return
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent += (_HEAD.pack(len(body), what, number), body)

    def close(self) -> None:
        """End the link."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is None:
            return
        if unsent:
            self._transport.write(b"".join(unsent))
        if self._transport.get_write_buffer_size() > _MAX_WAITING:
            self._mesh.overfull()
            self._transport.abort()


def _remove(path: str) -> None:
    """Remove what a worker that ended by force has left."""
    Path(path).unlink(missing_ok=True)
