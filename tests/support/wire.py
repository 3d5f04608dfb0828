"""Talk to a relay over a real socket: our own as a process, or any at an address."""

import asyncio
import json
import os
import re
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bunker.conformance.wire import peer as wire
from bunker.conformance.wire.peer import NOBODY as NOBODY
from bunker.conformance.wire.peer import Message as Message
from bunker.conformance.wire.peer import Refused as Refused
from bunker.conformance.wire.peer import note as note
from bunker.conformance.wire.trace import Trace
from bunker_core.event import VerifiedEvent
from bunker_core.keys import SecretKey
from support import commands

PATIENCE = 30.0  # seconds that a test waits for what must come


class Peer(wire.Peer):
    """The conformance kit's bare Nostr client, without a trace, and with what tests ask besides."""

    max_unread = sys.maxsize

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__("peer", url, Trace(), PATIENCE)
        self._options = {"max_size": None, "compression": None, "proxy": None} | options

    async def __aenter__(self) -> Self:
        self._socket = await connect(self.url, **self._options)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.socket.close()

    async def send(self, *message: Any, plain: str = "") -> None:
        """Send a message; events and filters may be objects of bunker_core."""
        content = [item.to_dict() if hasattr(item, "to_dict") else item for item in message]
        await self.socket.send(json.dumps(content))

    async def send_text(self, text: str, *, plain: str = "") -> None:
        """Send a frame as it is."""
        await self.socket.send(text)

    async def answer(self, text: str) -> Message:
        """Send a frame and return what comes next."""
        await self.send_text(text)
        return await self.next()

    async def ids(self, *filters: Any) -> list[str]:
        """Return the ids of the stored events that match, in the relay's order."""
        found = [event["id"] for event in await self.subscribe("ids", *filters)]
        await self.send("CLOSE", "ids")
        return found

    async def authenticate(self, key: SecretKey, **changes: Any) -> tuple[bool, str]:
        """Answer the challenge with `key` and return what OK says."""
        await self.hear_challenge()
        return await super().authenticate(key, **changes)

    async def hear_challenge(self) -> str:
        """Return the challenge of this connection; it comes when a client needs it."""
        if self.challenge is None:
            stranger = SecretKey.generate()
            tags = (("p", stranger.pubkey), ("-",))  # NIP-70, of a kind that any relay takes
            await self.publish(note(stranger, kind=24133, tags=tags))
        assert self.challenge is not None, "the relay has sent no challenge"
        return self.challenge

    async def close_code(self) -> int:
        """Wait until the relay closes, whatever it sends before, and return its code.

        1006 when the close frame was lost: TCP drops it when the relay closes with data unread.
        """
        with suppress(ConnectionClosed):
            while True:
                await self._receive("close")
        assert self.socket.close_code is not None
        return self.socket.close_code

    async def _read(self) -> Message:
        message: Message = json.loads(await self.socket.recv())
        return message


def narrow_socket(port: int) -> socket.socket:
    """Return a connection to a port of this machine of which the kernel keeps little."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    narrow.connect(("127.0.0.1", port))
    narrow.setblocking(False)
    return narrow


def request(author: SecretKey, recipient: str, content: str = "") -> VerifiedEvent:
    """Return a signing request (kind 24133) to `recipient`; each is another event."""
    content = content or secrets.token_hex(8)
    return note(author, content, kind=24133, tags=(("p", recipient),))


class RelayProcess:
    """Our own relay, running. `output` is what it has yet to say on standard output."""

    def __init__(
        self, process: commands.Process, output: IO[str], url: str, data: Path, log: Path
    ) -> None:
        self.process = process
        self.output = output
        self.url = url
        self.data = data
        self._log = log

    @property
    def http_url(self) -> str:
        """The same address for HTTP."""
        return self.url.replace("ws://", "http://")

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def proc(self) -> Path:
        """What the kernel tells of it."""
        return Path(f"/proc/{self.process.pid}")

    def log(self) -> str:
        """Return what it has written to standard error."""
        return self._log.read_text()

    async def logged(self, text: str) -> None:
        """Wait until the relay has written `text` to standard error."""
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as http:
            while text not in self.log():
                await http.get(f"{self.http_url}/healthz")  # takes a while, and no rate limit

    def rss(self) -> int:
        """Return its resident memory in bytes."""
        status = (self.proc / "status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE)


Start = Callable[..., RelayProcess]


@contextmanager
def running_relay(
    data: Path,
    *flags: str,
    config: str = "",
    environ: dict[str, str] | None = None,
    forked: bool = False,
) -> Iterator[RelayProcess]:
    """Run our relay on a free port; `config` is TOML. Kills it when the block ends.

    One that is `forked` starts at once, but its memory is not that of a relay.
    """
    arguments = ["run", "--port", "0", "--data", str(data), *flags]
    data.parent.mkdir(parents=True, exist_ok=True)
    if config:
        file = data.with_suffix(".toml")
        file.write_text(config)
        arguments += ["--config", str(file)]
    log = data.with_suffix(".log")
    environment = os.environ | (environ or {})
    module = "bunker_relay.cli:relay"
    # How a relay ends by itself is for the tests that ask it to.
    with (
        log.open("w") as errors,
        commands.started(arguments, errors, environment, module, fork=forked) as begun,
    ):
        process, output = begun
        line = output.readline()
        prefix = "relay listening on "
        assert line.startswith(prefix), log.read_text()
        yield RelayProcess(process, output, line.removeprefix(prefix).strip(), data, log)
