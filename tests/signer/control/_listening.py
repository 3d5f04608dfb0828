"""A locked key behind a control socket in the directory of argument 1, as in a running signer."""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from bunker_signer.control.server import ControlServer
from bunker_signer.key.access import Access
from bunker_signer.key.keystore import KeyStore
from bunker_signer.nse.memory import copy_of
from bunker_signer.store import Database


async def main() -> None:
    data = Path(sys.argv[1])
    keystore = KeyStore(data, None)
    (pair,) = keystore.open()
    access = Access("default", pair.user, Database(data / "signer.sqlite3"))
    access.lock("test")

    async def unlock(_said: Any, _uid: int, secret: bytearray | None) -> Any:
        opening = partial(keystore.unlock, pair.user, copy_of(secret or bytearray()))
        await access.unlock(opening, "test", on_machine=True)
        return access.state.value

    async with ControlServer(data, {"unlock": unlock}, os.geteuid()):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
