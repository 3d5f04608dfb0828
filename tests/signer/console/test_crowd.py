"""A crowd at the door: the signer signs, and its owner can lock, panic and look."""

import asyncio
import resource
from pathlib import Path
from time import perf_counter

import pytest

from bunker_client import RemoteSigner
from bunker_signer.control.protocol import send
from bunker_signer.policy import Profile
from bunker_signer.service.entrance import MOST
from signer.console._stage import CONSOLE, http, sign, stage

CROWD = 2000
SIGNATURES = 20


async def signatures(app: RemoteSigner) -> float:
    """Return signatures a second, one after the other."""
    begin = perf_counter()
    for number in range(SIGNATURES):
        await sign(app, f"number {number}")
    return SIGNATURES / (perf_counter() - begin)


async def test_two_thousand_idle_connections(relay_url: str, folder: Path) -> None:
    """With descriptors for a quarter of them, everything else goes on as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CROWD + 500:
        pytest.skip(f"{hard} descriptors are too few for the crowd itself")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CROWD + 500), hard))
    try:
        async with stage(relay_url, folder, CONSOLE) as on:
            resource.prlimit(on.signer.process.pid, resource.RLIMIT_NOFILE, (512, 512))
            async with RemoteSigner.from_uri(await on.new_uri(Profile.BASIC)) as app:
                before = await signatures(app)
                host, port = on.origin.removeprefix("http://").split(":")
                half = b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab"
                crowd = []
                for number in range(CROWD):
                    _, writer = await asyncio.open_connection(host, int(port))
                    writer.write(half if number % 2 else b"")
                    crowd.append(writer)
                during = await signatures(app)
                async with http(on) as browser:
                    assert (await browser.get("/login")).status_code == 200
                status = await asyncio.to_thread(send, on.data, "status")
                assert status["keys"][0]["state"] == "unlocked"
                open_now = len(list(Path(f"/proc/{on.signer.process.pid}/fd").iterdir()))
                assert open_now < MOST + 64
                panicked = await asyncio.to_thread(send, on.data, "panic")
                assert panicked["sessions"] == 1
                print(f"{before:.0f} signatures a second before, {during:.0f} during")
                assert during > before / 4
                for writer in crowd:
                    writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
