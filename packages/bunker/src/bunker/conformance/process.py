"""A program that is judged, as a process of its own; what it prints is read and bounded."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bunker.conformance.case import Failed

_END: Final = 5.0  # seconds from SIGTERM until it is killed
_KEPT: Final = 200  # lines of output that a reader is shown the last of
_QUEUED: Final = 5_000  # lines that wait to be read
_LINE: Final = 8 * 1024 * 1024  # bytes


@dataclass(slots=True)
class Program:
    """A process in a group of its own, so that what it started ends with it."""

    process: asyncio.subprocess.Process
    lines: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)  # None: it ended
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _reading: asyncio.Task[None] | None = None

    def read(self) -> None:
        """Begin to read what it prints."""
        self._reading = asyncio.create_task(self._read())

    async def write(self, line: str) -> None:
        """Write a line to its standard input."""
        if self.process.stdin is None:
            raise RuntimeError("standard input is not a pipe")
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    async def end(self, *, kill: bool = False) -> None:
        """End it, by SIGTERM unless `kill`."""
        self._signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            async with asyncio.timeout(_END):
                await self.process.wait()
        except TimeoutError:
            pass
        self._signal(signal.SIGKILL)
        await self.process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    async def _read(self) -> None:
        if self.process.stdout is None:
            raise RuntimeError("standard output is not a pipe")
        with contextlib.suppress(ValueError):  # a line without an end
            async for raw in self.process.stdout:
                line = raw.decode(errors="replace").rstrip("\n")
                self.last.append(line)
                if self.lines.qsize() >= _QUEUED:
                    self.lines.get_nowait()  # nobody reads
                self.lines.put_nowait(line)
        self.lines.put_nowait(None)


async def started(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Program:
    """Start a program; raises Failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "NODE_NO_WARNINGS": "1", **(environment or {})},
            limit=_LINE,
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    program = Program(process)
    program.read()
    return program
