"""What a relay's case works with: connections to the relay, its document, and its process."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from bunker.conformance.case import NotOffered, NotRun, Silence
from bunker.conformance.process import Program, started
from bunker.conformance.run import PATIENCE
from bunker.conformance.wire.peer import Peer
from bunker.conformance.wire.trace import Trace
from bunker_core.keys import SecretKey

_START: Final = 30.0  # seconds until a relay that the kit starts has to listen


_MAX_BODY: Final = 1_000_000  # bytes of an answer over HTTP


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP; the names of `headers` are lower-case."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(slots=True)
class Target:
    """The relay that is judged. With `command` the kit starts it, and so can end it too."""

    url: str
    command: tuple[str, ...] = ()
    patience: float = PATIENCE
    program: Program | None = field(default=None, init=False)

    @property
    def http_url(self) -> str:
        """The same address for HTTP."""
        return self.url.replace("ws", "http", 1)

    async def start(self) -> None:
        """Start the relay and return when it takes connections; raises Silence."""
        self.program = await started(self.command)
        try:
            async with asyncio.timeout(_START):
                while True:
                    try:
                        async with connect(self.url, proxy=None, open_timeout=1):
                            return
                    except (OSError, WebSocketException):
                        await asyncio.sleep(0.05)
        except TimeoutError:
            raise Silence(
                f"relay at {self.url} from `{shlex.join(self.command)}`", _START
            ) from None


@asynccontextmanager
async def running(target: Target) -> AsyncIterator[Callable[[Trace], Any]]:
    """Have the relay run, and yield what makes the kit of a case."""
    if target.command:
        await target.start()
    try:
        yield lambda trace: kit(target, trace)
    finally:
        if target.program is not None:
            await target.program.end()


@dataclass(slots=True)
class RelayKit:
    """The relay under test, as one case sees it."""

    target: Target
    trace: Trace
    peers: list[Peer] = field(default_factory=list)

    async def peer(self, name: str = "client") -> Peer:
        """Open another connection."""
        peer = Peer(name, self.target.url, self.trace, self.target.patience)
        await peer.open()
        self.peers.append(peer)
        return peer

    def key(self) -> SecretKey:
        """Return a fresh key: nothing of it is on the relay."""
        return SecretKey.generate()

    async def document(self) -> dict[str, Any]:
        """Return the relay's document (NIP-11); raises NotOffered."""
        reply = await self.get(Accept="application/nostr+json")
        try:
            document = json.loads(reply.body)
        except ValueError:
            document = None
        if reply.status != 200 or not isinstance(document, dict):
            raise NotOffered("the relay has no NIP-11 document")
        return document

    async def get(self, **headers: str) -> Reply:
        """Ask over HTTP at the relay's address; raises NotOffered when nobody speaks HTTP."""
        parts = urlsplit(self.target.http_url)
        path = parts.path or "/"
        self.trace.add("http", True, f"GET {path} {headers}")

        def ask() -> Reply:
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            connection = kind(parts.hostname or "", parts.port, timeout=self.target.patience)
            try:
                connection.request("GET", path, headers=headers)
                said = connection.getresponse()
                body = said.read(_MAX_BODY).decode(errors="replace")
                return Reply(said.status, {k.lower(): v for k, v in said.getheaders()}, body)
            finally:
                connection.close()

        try:
            reply = await asyncio.to_thread(ask)
        except (OSError, HTTPException) as error:
            raise NotOffered(f"no answer over HTTP: {error}") from None
        self.trace.add("http", False, f"{reply.status} {reply.headers} {reply.body}")
        return reply

    async def limitation(self, name: str) -> int:
        """Return one of the limits that the relay's document names; raises NotOffered."""
        limits = (await self.document()).get("limitation")
        value = limits.get(name) if isinstance(limits, dict) else None
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise NotOffered(f"its NIP-11 document has no limitation.{name}")
        return value

    async def restart(self, *, kill: bool = False) -> None:
        """End the relay (SIGTERM, or SIGKILL) and start it again; raises NotRun."""
        if self.target.program is None:
            raise NotRun("the relay was not started by the kit: give its command after --")
        await self.target.program.end(kill=kill)
        await self.target.start()

    async def end(self) -> None:
        """Ask the relay to stop (SIGTERM); raises NotRun."""
        if self.target.program is None:
            raise NotRun("the relay was not started by the kit: give its command after --")
        self.trace.add("kit", True, "SIGTERM")
        self.target.program.terminate()


def kit(target: Target, trace: Trace) -> AbstractAsyncContextManager[RelayKit]:
    """Make the kit of one case; its connections end with it."""

    @asynccontextmanager
    async def context() -> AsyncIterator[RelayKit]:
        made = RelayKit(target, trace)
        try:
            yield made
        finally:
            await asyncio.gather(*(peer.close() for peer in made.peers), return_exceptions=True)

    return context()
