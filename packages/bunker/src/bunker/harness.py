"""Relay and signer as real processes, for the demo and for tests.

Both are started through the `bunker` command, as a user would, and are gone when the context
ends, whatever happened in it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bunker_core.local.process import START_TIMEOUT, STOP_TIMEOUT, module_command

_MASTER_KEY_VARIABLE: Final = "BUNKER_MASTER_KEY_FILE"


class ProcessFailed(Exception):
    """A process ended before it was ready. The text is what it said on standard error."""

    def __init__(self, command: str, code: int | None, stderr: str) -> None:
        super().__init__(command, code, stderr)
        self.command = command
        self.code = code
        self.stderr = stderr.strip()

    def __str__(self) -> str:
        return f"{self.command} ended with {self.code}: {self.stderr or 'no word on why'}"


@dataclass(slots=True)
class Running:
    """A process that is ready. `lines` is what it printed until then."""

    process: asyncio.subprocess.Process
    lines: list[str]

    async def terminate(self) -> int:
        """Ask the process to stop (SIGTERM), kill it if it does not; return its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                return await self.process.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """Kill the process (SIGKILL)."""
        if self.process.returncode is None:
            self.process.kill()
        return await self.process.wait()


@dataclass(slots=True)
class RunningRelay(Running):
    """A relay."""

    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])


@dataclass(slots=True)
class RunningSigner(Running):
    """A signer; `uri` pairs one client."""

    uri: str
    npub: str


@asynccontextmanager
async def running_relay(
    data: Path, *, port: int = 0, arguments: Sequence[str] = ()
) -> AsyncIterator[RunningRelay]:
    """Run a relay on a free loopback port (unless `port` is given); raises ProcessFailed."""
    command = ("relay", "run", "--host", "127.0.0.1", "--port", str(port), "--data", str(data))
    async with _running((*command, *arguments), "relay listening on ") as (process, lines):
        yield RunningRelay(process, lines, lines[-1].removeprefix("relay listening on "))


@asynccontextmanager
async def running_signer(
    data: Path, relays: Sequence[str], *, allow: str = "", arguments: Sequence[str] = ()
) -> AsyncIterator[RunningSigner]:
    """Run a signer on `relays` whose URI grants `allow`; raises ProcessFailed.

    Its standard input is empty, so it denies what no grant covers.
    """
    command = ["signer", "run", "--pair", "--data", str(data), "--allow", allow]
    for relay in relays:
        command += ["--relay", relay]
    async with _running((*command, *arguments), "bunker://") as (process, lines):
        npub = next((word for line in lines for word in line.split() if word[:5] == "npub1"), "")
        yield RunningSigner(process, lines, lines[-1], npub)


async def start(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    """Start `bunker` with nothing on its standard input; its output is piped."""
    return await asyncio.create_subprocess_exec(
        *module_command("bunker", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )


@asynccontextmanager
async def _running(
    arguments: Sequence[str], ready: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """Start `bunker`; yield when it has printed a line that starts with `ready`."""
    environment = {key: value for key, value in os.environ.items() if key != _MASTER_KEY_VARIABLE}
    process = await start(arguments, environment)
    stderr = asyncio.create_task(_tail(process.stderr))
    draining: asyncio.Task[str] | None = None
    try:
        lines = await _read_until(process, ready)
        if lines is None:
            raise ProcessFailed(" ".join(arguments[:2]), await process.wait(), await stderr)
        draining = asyncio.create_task(_tail(process.stdout))
        yield process, lines
    finally:
        running = Running(process, [])
        await running.terminate()
        await stderr
        if draining:
            await draining


async def _read_until(process: asyncio.subprocess.Process, ready: str) -> list[str] | None:
    """Return the lines up to the one that starts with `ready`, or None if the output ends."""
    if process.stdout is None:
        raise RuntimeError("standard output is not a pipe")
    lines: list[str] = []
    async with asyncio.timeout(START_TIMEOUT):
        async for raw in process.stdout:
            lines.append(raw.decode().rstrip("\n"))
            if lines[-1].startswith(ready):
                return lines
    return None


async def _tail(stream: asyncio.StreamReader | None) -> str:
    """Read to the end, so that the process never blocks on a full pipe; return the last part."""
    text = b""
    while stream and (piece := await stream.read(4096)):
        text = (text + piece)[-4096:]
    return text.decode(errors="replace")
