"""A relay's HTTP without sockets, by a clock that goes by hand."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn.server import ServerState

from bunker_core.bounds.rate import Buckets, FixedRate
from bunker_relay.http.accept import HTTPProtocol, Waiting
from relay.support.socket import ADDRESS, Socket, configured


class Timer:
    """A call that is to be made."""

    def __init__(self, at: float, call: Callable[..., object]) -> None:
        self.at, self.call = at, call
        self.pending = True

    def cancel(self) -> None:
        self.pending = False


class Loop:
    """The running loop, but for its time."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[..., object], *_: object) -> Timer:
        self.timers.append(Timer(self.now + seconds, call))
        return self.timers[-1]

    def create_task(self, work: Coroutine[Any, Any, None], **more: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, **more)

    @property
    def pending(self) -> int:
        return sum(timer.pending for timer in self.timers)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        for timer in self.timers:
            if timer.pending and timer.at <= self.now:
                timer.pending = False
                timer.call()


class Server:
    """Connections to one application, which answers as many requests as it is told."""

    def __init__(self, *, per_address: int = 99, burst: int = 99) -> None:
        self.loop = Loop()
        self.answers = asyncio.Semaphore(0)
        self.bodies: list[bytes] = []
        self.state = ServerState()

        class Ours(HTTPProtocol):
            waiting = Waiting(per_address, 999)
            requests = Buckets(FixedRate(1, burst))

        self.kind = Ours
        self.config = configured(self._app, lifespan="off")
        self.config.load()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            return
        if scope["path"] == "/body":
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            self.bodies.append(body)
        await self.answers.acquire()
        head = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"ok"})

    def connect(self, address: str = ADDRESS) -> tuple[HTTPProtocol, Socket]:
        protocol = self.kind(self.config, self.state, {}, _loop=self.loop)  # type: ignore[arg-type]
        socket = Socket(address)
        protocol.connection_made(socket)
        return protocol, socket

    async def answer(self, requests: int = 1) -> None:
        """Let so many requests be answered, and what follows happen."""
        for _ in range(requests):
            self.answers.release()
        for _ in range(10):
            await asyncio.sleep(0)


def statuses(socket: Socket) -> list[int]:
    return [int(part[:3]) for part in socket.written.split(b"HTTP/1.1 ")[1:]]
