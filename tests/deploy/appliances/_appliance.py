"""What a system's package of relay and signer has to do for its owner: end with a signature."""

import asyncio
from pathlib import Path

import httpx
from click.testing import CliRunner

from bunker.cli import main
from bunker.harness import running_signer


async def check_signer(data: Path, arguments: list[str], password: str) -> None:
    """Start the signer: the password binds a browser, an app is paired, and gets a signature."""
    async with running_signer(data, [], arguments=arguments) as signer:
        origin = next(line.split()[1] for line in signer.lines if line.startswith("console "))
        async with httpx.AsyncClient(base_url=origin, trust_env=False) as browser:
            browser.headers["origin"] = origin
            answer = await browser.post("/login/password", data={"password": password})
            assert answer.status_code == 303
            assert (await browser.get("/apps")).status_code == 200
        uri = (await _called("signer", "pair", "--profile", "basic", "--data", str(data))).split()
        assert '"sig"' in await _called("sign", "--uri", uri[-1], given='{"kind":1}')


async def _called(*arguments: str, given: str = "") -> str:
    """Run a command in a thread, as it has an event loop of its own; return what it says."""
    result = await asyncio.to_thread(CliRunner().invoke, main, list(arguments), input=given)
    assert result.exit_code == 0, result.output
    return result.output
