"""A crowd at the door: the signer signs, and its owner can lock, panic and look."""

import asyncio
import os
import resource
from pathlib import Path

import pytest

from bunker_client import RemoteSigner
from bunker_signer.control.protocol import send
from bunker_signer.policy import Profile
from bunker_signer.service.listener import MOST
from signer.console._stage import CONSOLE, http, sign, stage

CROWD = 2000
SIGNATURES = 20


async def work(pid: int, app: RemoteSigner) -> float:
    """Return the milliseconds of processor that the signer spends while it signs, a signature."""
    begin = _spent(pid)
    for number in range(SIGNATURES):
        await sign(app, f"number {number}")
    return (_spent(pid) - begin) / SIGNATURES / 1e6


def _spent(pid: int) -> int:
    """Return the nanoseconds that a process has run, all its threads together."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


async def test_two_thousand_idle_connections(relay_url: str, folder: Path) -> None:
    """With descriptors for a quarter of them, everything else goes on as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CROWD + 500:
        pytest.skip(f"{hard} descriptors are too few for the crowd itself")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CROWD + 500), hard))
    try:
        async with stage(relay_url, folder, CONSOLE) as on:
            pid = on.signer.process.pid
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (512, 512))
            async with RemoteSigner.from_uri(await on.new_uri(Profile.BASIC)) as app:
                crowd = []
                try:
                    before = await work(pid, app)
                    host, port = on.origin.removeprefix("http://").split(":")
                    half = b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab"
                    for number in range(CROWD):
                        _, writer = await asyncio.open_connection(host, int(port))
                        writer.write(half if number % 2 else b"")
                        crowd.append(writer)
                    async with http(on) as browser:  # taken in after all of them
                        assert (await browser.get("/login")).status_code == 200
                    during = await work(pid, app)
                    status = await asyncio.to_thread(send, on.data, "status")
                    assert status["keys"][0]["state"] == "unlocked"
                    if os.geteuid() == 0:  # nobody else sees the files of a hardened process
                        open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                        assert open_now < MOST + 64
                    panicked = await asyncio.to_thread(send, on.data, "panic")
                    assert panicked["sessions"] == 1
                    print(f"{before:.2f} ms of work a signature before, {during:.2f} during")
                    assert during < before * 4
                finally:
                    for writer in crowd:
                        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
