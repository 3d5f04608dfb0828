"""Programs as processes that are stopped at the end; `bunker up`, and what it prints."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def started(
    *command: str,
    stdin: int = asyncio.subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program whose output is read, and stop it at the end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.communicate()


@asynccontextmanager
async def bunker_up(data: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it in `data`, with a URI that pairs, and stop it at the end."""
    command = [sys.executable, "-m", "bunker", "up", "--data", str(data), "--port", "0"]
    if "--no-pair" not in arguments:
        command.append("--pair")
    async with started(*command, *arguments) as process:
        yield process


async def uri_of(process: asyncio.subprocess.Process) -> tuple[str, list[str]]:
    """Return the URI that it prints, and the lines before."""
    assert process.stdout
    before: list[str] = []
    async with asyncio.timeout(30):
        async for raw in process.stdout:
            line = raw.decode().strip()
            if line.startswith("bunker://"):
                return line, before
            before.append(line)
    assert process.stderr
    raise AssertionError((await process.stderr.read()).decode())
