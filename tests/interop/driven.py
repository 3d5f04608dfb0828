"""Clients of every library, as processes that do what a test tells them, and their owner."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from interop.peers import Kind, ended, go, launch, node, python, rust

# How each is run.
LIBRARIES: Final[dict[str, tuple[Kind, str]]] = {
    "nostr-tools": (node, "driven.mjs"),
    "NDK": (node, "driven.mjs"),
    "nostr_sdk": (python, "driven_client.py"),
    "applesauce": (node, "driven.mjs"),
    "welshman": (node, "driven.mjs"),
    "nostrify": (node, "driven.mjs"),
    "snstr": (node, "driven.mjs"),
    "NDK 2": (node, "driven.mjs"),
    "Snort": (node, "driven.mjs"),
    "go-nostr": (go, "go"),
    "rust-nostr 0.44": (rust, "rust"),
    "our client": (python, "driven_client.py"),
}


class LibraryError(Exception):
    """What a library rejects a request with; the text is the one that its caller gets."""


@dataclass(slots=True)
class Driven:
    """A client of one library."""

    library: str
    process: asyncio.subprocess.Process
    pubkey: str = ""  # the client's, once it is connected
    user: str = ""
    noise: list[str] = field(default_factory=list)
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def connect(self, uri: str) -> None:
        """Pair by a bunker:// URI."""
        told = await self.tell(do="connect", uri=uri)
        self.pubkey, self.user = told["client"], told["user"]

    def sign(self, kind: int, content: str) -> "asyncio.Future[Any]":
        """Ask for an event; the future fails with LibraryError."""
        return self.tell(do="sign", kind=kind, content=content)

    def decrypt(self, peer: str, payload: str) -> "asyncio.Future[Any]":
        """Ask for a NIP-44 text."""
        return self.tell(do="decrypt", peer=peer, payload=payload)

    def tell(self, **order: Any) -> "asyncio.Future[Any]":
        """Give an order; the future has its answer."""
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"number": number, **order}).encode() + b"\n")
        return future

    async def read(self) -> None:
        """Give answers to who waits for them, until the program ends."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            text = raw.decode(errors="replace").rstrip("\n")
            if not text.startswith('{"answered"'):
                self.noise.append(text)
                continue
            line = json.loads(text)
            future = self._waiting.pop(line["answered"])
            if future.done():
                continue
            if "error" in line:
                future.set_exception(LibraryError(line["error"]))
            else:
                future.set_result(line.get("result"))
        for future in self._waiting.values():
            future.cancel()


@asynccontextmanager
async def driven(library: str, command: tuple[str, ...] = ()) -> AsyncIterator[Driven]:
    """Run a client of `library`, by another command than its own if one is given."""
    kind, script = LIBRARIES[library]
    words = command or (*kind(script), library)
    process = await launch(*words, stdin=asyncio.subprocess.PIPE)
    client = Driven(library, process)
    async with ended(process, client.read):
        yield client


@dataclass(slots=True)
class Owner:
    """The person who is told by the signer's notification hook, a command."""

    hook: str  # for `bunker signer run --notify`
    _told: asyncio.StreamReader

    async def notice(self) -> dict[str, Any]:
        """Return the next thing that the owner is told."""
        notice: dict[str, Any] = json.loads(await self._told.readline())
        return notice


@asynccontextmanager
async def owner(directory: Path) -> AsyncIterator[Owner]:
    """Wait for notices; `hook` runs a program in `directory` that passes them on."""
    directory.mkdir(exist_ok=True)
    pipe, program = directory / "told", directory / "tell"
    os.mkfifo(pipe)
    # One write a notice, so that several do not mix.
    program.write_text(f'#!/bin/sh\nnotice=$(cat)\nprintf "%s\\n" "$notice" > {pipe}\n')
    program.chmod(0o700)
    told = asyncio.StreamReader()
    # Held open for writing too, so that it does not end with the first program.
    with os.fdopen(os.open(pipe, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0) as end:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(told), end
        )
        try:
            yield Owner(f"command:{program}", told)
        finally:
            transport.close()
