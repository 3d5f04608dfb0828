"""`bunker up`: two processes under one command."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bunker_client import RemoteSigner


@asynccontextmanager
async def bunker_up(data: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bunker", "up", "--data", str(data), "--port", "0", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
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


async def uri_of(process: asyncio.subprocess.Process) -> tuple[str, list[str]]:
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


def children(process: asyncio.subprocess.Process) -> dict[str, int]:
    """The processes that `up` started, by their subcommand."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in pids}
    return {words[words.index("run") - 1]: pid for pid, words in commands.items()}


async def test_up_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """An app pairs by the printed URI and signs; SIGTERM ends both processes with exit code 0."""
    async with bunker_up(tmp_path, "--no-qr", "--allow", "sign_event:1") as process:
        uri, _ = await uri_of(process)
        started = children(process)
        assert set(started) == {"relay", "signer"}
        async with RemoteSigner.from_uri(uri, timeout=10) as signer:
            event = await signer.request_signature({"kind": 1, "content": "up"})
            assert event.content == "up"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in started.values())


async def test_qr_code_stands_before_the_uri(tmp_path: Path) -> None:
    """The QR code is drawn with block characters, and the URI follows for those who copy."""
    async with bunker_up(tmp_path) as process:
        _, before = await uri_of(process)
        assert len([line for line in before if set(line) & set("█▀▄")]) > 15


async def test_relay_that_dies_takes_the_signer_along(tmp_path: Path) -> None:
    """A signer without its relay can't be reached: `up` stops both and says so."""
    async with bunker_up(tmp_path, "--no-qr") as process:
        await uri_of(process)
        started = children(process)
        os.kill(started["relay"], signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await process.wait() == 1
        assert process.stderr
        assert "the relay ended by itself" in (await process.stderr.read()).decode()
        assert not Path(f"/proc/{started['signer']}").exists()


async def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    """A second installation on the same port says which port and what to do."""
    async with bunker_up(tmp_path / "first", "--no-qr") as first:
        uri, _ = await uri_of(first)
        port = uri.partition("127.0.0.1%3A")[2].partition("&")[0]
        async with bunker_up(tmp_path / "second", "--no-qr", "--port", port) as second:
            async with asyncio.timeout(10):
                assert await second.wait() == 1
            assert second.stderr
            said = (await second.stderr.read()).decode()
            assert said.startswith("Error: ")
            assert port in said
            assert said.count("\n") == 1
            assert not (tmp_path / "second" / "signer").exists()
