"""`bunker up`: relay and signer for use, two processes under one command."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

import click

from bunker.harness import STOP_TIMEOUT, ProcessFailed, running_relay

DEFAULT_PORT: Final = 7777


def default_data() -> Path:
    """Return where the data lies when no directory is named (XDG base directory)."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "nostr-bunker"


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data,
    show_default="~/.local/share/nostr-bunker",
    help="Directory of the relay's and the signer's data.",
)
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="The relay's port.")
@click.option("--qr/--no-qr", default=True, show_default=True, help="Show the URI as a QR code.")
@click.option("--profile", default="ask", show_default=True, help="See `bunker signer run`.")
@click.option("--allow", default="", metavar="PERMISSIONS", help="See `bunker signer run`.")
def up(data: Path, port: int, qr: bool, profile: str, allow: str) -> None:
    """Run relay and signer until Ctrl-C, and print the URI that pairs an app.

    The signer asks at this terminal before it signs what is not granted.
    """
    arguments = ["--profile", profile, "--allow", allow, *(["--qr"] if qr else [])]
    try:
        code = asyncio.run(_up(data, port, arguments))
    except ProcessFailed as error:
        message = error.stderr.removeprefix("Error: ") or str(error)
        raise click.ClickException(message) from None
    sys.exit(code)


async def _up(data: Path, port: int, arguments: list[str]) -> int:
    """Run both; return the exit code of the signer, or 1 when the relay ended by itself."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running_relay(data / "relay", port=port) as relay:
        # The signer has the terminal: it prints the URI and asks its questions there.
        signer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bunker", "signer", "run", "--data", str(data / "signer")),
            *("--relay", relay.url, *arguments),
        )
        stop = asyncio.create_task(stopped.wait())
        ends = {asyncio.create_task(signer.wait()), asyncio.create_task(relay.process.wait()), stop}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        relay_ended = relay.process.returncode is not None and not stopped.is_set()
        if signer.returncode is None:
            signer.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                code = await signer.wait()
        except TimeoutError:
            signer.kill()
            code = await signer.wait()
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    if relay_ended:
        click.echo("the relay ended by itself; the signer is stopped too", err=True)
        return 1
    return code
