"""What a browser starts: python -m bunker_client.nip07 DIRECTORY EXTENSION.

DIRECTORY is what `bunker nip07 install` made; a browser adds which extension it starts this for.
"""

import asyncio
import os
import sys
from pathlib import Path

from bunker_client.nip07.host import Host
from bunker_client.nip07.install import CHROMIUM_ORIGIN, FIREFOX_ID, Settings
from bunker_client.nip07.prompts import Prompts
from bunker_client.nip07.sites import Sites
from bunker_client.signers import signer_from
from bunker_core.errors import BunkerError


def main() -> None:
    """Serve the browser on standard input and output."""
    arguments = sys.argv[1:]
    if not arguments or not {CHROMIUM_ORIGIN, FIREFOX_ID}.intersection(arguments[1:]):
        sys.exit("a browser starts this, for its extension; see `bunker nip07 install`")
    try:
        asyncio.run(_serve(Path(arguments[0])))
    except BunkerError as error:
        sys.exit(f"Error: {error}")  # the browser writes it to its own log


async def _serve(directory: Path) -> None:
    settings = Settings.load(directory)
    # Whatever prints from now on must not come between the messages.
    output = os.dup(1)
    os.dup2(2, 1)

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(output, view) :]

    host = Host(
        Prompts(Sites(directory / "sites.json")),
        lambda: signer_from(settings.signer, sessions=settings.kept()),
        write,
    )
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    await host.serve(reader)


if __name__ == "__main__":
    main()
