"""The program that runs the client under test: it is told what to do, a line of JSON each.

The kit writes {"number": 1, "client": "c1", "do": "connect", "uri": "bunker://…"}; the program
answers {"answered": 1, "result": …}, {"answered": 1, "error": TEXT} with what the library tells
its caller, or {"answered": 1, "unsupported": true}. Many clients and orders go on at once. Where a
signer sends its user to a page, the program says {"client": "c1", "auth_url": URL}.

| do | with | result |
|---|---|---|
| connect | uri | {"user": PUBKEY} |
| invite | relays | {"uri": "nostrconnect://…"}, at once |
| paired | | {"user": PUBKEY}, when a signer has taken the invitation |
| sign | event: kind, content, tags, created_at | the signed event |
| encrypt | scheme, peer, text | the payload |
| decrypt | scheme, peer, payload | the text |
| ping, logout | | anything |
"""

import asyncio
import itertools
import json
import shlex
from collections import defaultdict
from typing import Any

from bunker.conformance.case import Failed, NotOffered, Silence
from bunker.conformance.process import Program, started


class Rejected(Failed):
    """What the library told its caller instead of a result."""


class Driver:
    """The running program."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command
        self.auth_urls: dict[str, list[str]] = defaultdict(list)  # by client
        self._program: Program | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._said = asyncio.Event()

    async def start(self) -> None:
        """Run the program; raises Failed."""
        self._program = await started(self.command)
        self._reading = asyncio.create_task(self._read(self._program))

    async def end(self) -> None:
        """End it."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._program is not None:
            await self._program.end()

    async def tell(self, client: str, do: str, seconds: float, **more: Any) -> Any:
        """Give an order; return its result. Raises Rejected, NotOffered or Silence."""
        if self._program is None:
            raise RuntimeError("the driver is not started")
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        order = {"number": number, "client": client, "do": do, **more}
        try:
            await self._program.write(json.dumps(order))
            async with asyncio.timeout(seconds):
                return await future
        except (ConnectionError, BrokenPipeError):
            raise Failed(self._ended()) from None
        except TimeoutError:
            raise Silence(f"end of `{do}`, neither result nor error,", seconds) from None
        finally:
            self._waiting.pop(number, None)

    async def auth_url(self, client: str, seconds: float) -> str:
        """Return where a client's user was sent; raises Silence."""
        try:
            async with asyncio.timeout(seconds):
                while not self.auth_urls[client]:
                    self._said.clear()
                    await self._said.wait()
        except TimeoutError:
            raise Silence("word on where its user has to go", seconds) from None
        return self.auth_urls[client][0]

    async def _read(self, program: Program) -> None:
        while (line := await program.lines.get()) is not None:
            if line.startswith("{"):
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue  # something of the program's own
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Failed(self._ended()))

    def _take(self, said: dict[str, Any]) -> None:
        if "auth_url" in said:
            self.auth_urls[said["client"]].append(str(said["auth_url"]))
            self._said.set()
            return
        future = self._waiting.get(said["answered"])
        if future is None or future.done():
            return
        if said.get("unsupported"):
            future.set_exception(NotOffered("the library has no such call"))
        elif "error" in said:
            future.set_exception(Rejected(f"the library says: {said['error']}"))
        else:
            future.set_result(said.get("result"))

    def _ended(self) -> str:
        last = " / ".join(list(self._program.last)[-3:]) if self._program else ""
        return f"`{shlex.join(self.command)}` ended: {last or 'not a word'}"
