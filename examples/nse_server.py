"""A server: several users' keys in one store, opened by a passphrase, locked when idle.

    python examples/nse_server.py keys < passphrase

Standard input has the passphrase on its first line and then requests, a JSON object a line:

    {"user": "alice", "do": "new"}
    {"user": "alice", "do": "sign", "event": {"kind": 1, "content": "hello"}}
    {"user": "alice", "do": "encrypt", "peer": "<pubkey>", "text": "hello"}

Each is answered with one line. AsyncNSE keeps the event loop free while a key is being opened.
"""

# ruff: noqa: T201 -- printing is what an example is for

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from bunker_core.errors import InvalidEvent
from bunker_core.event import parse_template
from bunker_core.keys import wipe
from bunker_signer.nse import NSE, AsyncNSE, FileStorage, NSEError, harden_process
from bunker_signer.nse.wrap import Protector
from bunker_signer.nse.wrap.passphrase import Passphrase

IDLE = 300.0  # seconds until a user's key is locked again


class Users:
    """One enclave for each user, made when they come first."""

    def __init__(self, directory: Path, protector: Protector) -> None:
        self._storage = FileStorage(directory)
        self._protector = protector
        self._enclaves: dict[str, AsyncNSE] = {}

    async def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what one request asks; raises NSEError, InvalidEvent, KeyError."""
        nse = self._enclave(str(request["user"]))
        if request["do"] == "new":
            info = await nse.generate()
            return {"npub": info.npub}
        if nse.locked:
            await nse.unlock(self._protector)
        match request["do"]:
            case "sign":
                signed = await nse.sign(parse_template(request["event"]))
                return signed.to_dict()
            case "encrypt":
                return {"payload": await nse.nip44_encrypt(request["peer"], request["text"])}
            case _:
                raise KeyError("do")

    def _enclave(self, user: str) -> AsyncNSE:
        if user not in self._enclaves:
            nse = NSE(storage=self._storage, name=user, protector=self._protector, auto_lock=IDLE)
            self._enclaves[user] = AsyncNSE(nse)
        return self._enclaves[user]

    async def close(self) -> None:
        """Wipe every key."""
        for nse in self._enclaves.values():
            await nse.close()


async def main(directory: Path, read_line: Callable[[], bytes]) -> None:
    """Answer requests until there are no more."""
    harden_process()
    line = bytearray(read_line().rstrip(b"\n"))
    protector = Passphrase(line)
    wipe(line)
    users = Users(directory, protector)
    try:
        while request := await asyncio.to_thread(read_line):
            try:
                answer = await users.answer(orjson.loads(request))
            except (NSEError, InvalidEvent) as error:
                answer = {"error": str(error)}
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                answer = {"error": "not a request"}
            print(orjson.dumps(answer).decode(), flush=True)
    finally:
        await users.close()
        protector.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.stdin.buffer.readline))
