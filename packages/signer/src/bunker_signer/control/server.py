"""The socket's end in the running signer."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import orjson

from bunker_core.errors import BunkerError
from bunker_core.local.sockets import peer_uid, short_path
from bunker_signer.control.protocol import (
    MAX_LINE,
    MAX_SECRET,
    SOCKET,
    ControlError,
)
from bunker_signer.nse import NSEError
from bunker_signer.process.logs import get_logger

# Takes the arguments of a request, the uid that sends it, and its passphrase, if any.
Command = Callable[[Mapping[str, Any], int, bytearray | None], Awaitable[Any]]

_READ_TIMEOUT: Final = 10.0  # seconds that a caller has for its request

log = get_logger(__name__)


class ControlServer:
    """Serves `commands` at `control.sock` in `data` while in the context; raises ControlError.

    The socket's mode keeps others out, and the kernel is asked who calls in any case: a directory
    that is open to others, or a descriptor that was passed on, gives nobody the key.
    """

    def __init__(
        self,
        data: Path,
        commands: Mapping[str, Command],
        owner: int,
        peer: Callable[[Any], int] = peer_uid,
    ) -> None:
        """`owner` is the uid that may call, beside root; `peer` tells who does."""
        self._path = data / SOCKET
        self._commands = commands
        self._allowed = {owner, 0}
        self._peer = peer
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the socket is 0600 from its first moment
        try:
            self._path.unlink(missing_ok=True)  # left by a signer that was killed; we hold the lock
            with short_path(self._path) as short:
                listener.bind(short)
        except OSError as error:
            listener.close()
            raise ControlError(f"{self._path} can't be made: {error.strerror}") from None
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            uid = self._peer(writer.get_extra_info("socket"))
            if uid not in self._allowed:
                log.warning("control refused", uid=uid)
                return
            writer.write(orjson.dumps(await self._answer(reader, uid)) + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError, EOFError):
            return  # the caller went away, or never meant it
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, uid: int) -> dict[str, Any]:
        async with asyncio.timeout(_READ_TIMEOUT):
            header = orjson.loads(await reader.readline())
            if not isinstance(header, dict) or not isinstance(header.get("arguments"), dict):
                return {"error": "not a request"}
            size = header.get("secret", 0)
            if type(size) is not int or not 0 <= size <= MAX_SECRET:
                return {"error": "the passphrase is too long"}
            secret = bytearray(await reader.readexactly(size)) if size else None
        command = self._commands.get(str(header.get("command")))
        if command is None:
            return {"error": "the running signer does not know this command; is it older?"}
        try:
            return {"result": await command(header["arguments"], uid, secret)}
        except (BunkerError, NSEError) as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 -- the owner is answered whatever happens
            log.error("control failed", command=header["command"], error=type(error).__name__)
            return {"error": f"the signer failed: {type(error).__name__}"}
