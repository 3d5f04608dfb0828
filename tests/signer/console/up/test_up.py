"""`bunker up` has the console with it."""

import asyncio
from pathlib import Path

import httpx

from signer.console._stage import bunker


async def test_up_prints_a_link_that_binds(tmp_path: Path) -> None:
    """The first run prints a link that binds a device, and a code for a phone on the network."""
    process = await asyncio.create_subprocess_exec(
        *(bunker(), "up", "--data", str(tmp_path), "--port", "0", "--yes", "--pair"),
        *("--console", "0.0.0.0:0"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(60):
            while not lines or not lines[-1].startswith("http"):
                line = await process.stdout.readline()
                assert line, (lines, await process.communicate())  # it ended too early
                lines.append(line.decode().rstrip())
        assert any("scan this" in line for line in lines)
        assert sum("█" in line for line in lines) > 10  # the code
        origin, _, token = lines[-1].partition("/bind/")
        async with httpx.AsyncClient(base_url=origin, trust_env=False) as phone:
            phone.headers["origin"] = origin
            answer = await phone.post(f"/bind/{token}", data={"name": "Phone"})
            assert answer.status_code == 303
            assert (await phone.get("/requests")).status_code == 200
    finally:
        process.terminate()
        _, errors = await process.communicate()
    assert b"not encrypted" in errors  # who listens on the network is told what that means
