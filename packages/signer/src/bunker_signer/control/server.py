"""The socket's end in the running signer."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, Self

import orjson

from bunker_core.errors import BunkerError
from bunker_core.keys import wipe
from bunker_core.local.sockets import peer_uid, short_path
from bunker_signer.control.protocol import (
    MAX_LINE,
    MAX_SECRET,
    SOCKET,
    ControlError,
)
from bunker_signer.nse.memory import copy_of
from bunker_signer.process.logs import get_logger

# Takes the arguments of a request, the uid that sends it, and its passphrase, if any.
Command = Callable[[Mapping[str, Any], int, bytearray | None], Awaitable[Any]]

_BACKLOG: Final = 16
_PIECE: Final = 65536  # bytes read at a time
_ACCEPT_AGAIN: Final = 0.1  # seconds
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
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)  # left by a signer that was killed; we hold the lock
            with short_path(self._path) as short:  # may make a folder, which has to be entered
                before = os.umask(0o177)  # the socket is 0600 from its first moment
                try:
                    listener.bind(short)
                finally:
                    os.umask(before)
        except OSError as error:
            listener.close()
            raise ControlError(f"{self._path} can't be made: {error.strerror}") from None
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self._spawn(self._accept(listener))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                caller, _ = await loop.sock_accept(listener)
            except OSError as error:  # no descriptors left, or the caller is gone already
                log.warning("control failed to accept", error=error.strerror)
                await asyncio.sleep(_ACCEPT_AGAIN)
                continue
            caller.setblocking(False)
            self._spawn(self._serve(caller))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, caller: socket.socket) -> None:
        try:
            uid = self._peer(caller)
            if uid not in self._allowed:
                log.warning("control refused", uid=uid)
                return
            reply = orjson.dumps(await self._answer(caller, uid)) + b"\n"
            await asyncio.get_running_loop().sock_sendall(caller, reply)
        except (OSError, TimeoutError, ValueError, EOFError):
            return  # the caller went away, or never meant it
        finally:
            caller.close()

    async def _answer(self, caller: socket.socket, uid: int) -> dict[str, Any]:
        secret = bytearray(MAX_SECRET)
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                line, given = await _read_line(caller, secret)
                header = orjson.loads(line)
                if not isinstance(header, dict) or not isinstance(header.get("arguments"), dict):
                    return {"error": "not a request"}
                size = header.get("secret", 0)
                if type(size) is not int or not 0 <= size <= MAX_SECRET:
                    return {"error": "the passphrase is too long"}
                await _read_rest(caller, secret, given, size)
            exact = copy_of(memoryview(secret)[:size]) if size else None
            try:
                return await self._run(header, uid, exact)
            finally:
                if exact is not None:
                    wipe(exact)
        finally:
            wipe(secret)

    async def _run(
        self, header: dict[str, Any], uid: int, secret: bytearray | None
    ) -> dict[str, Any]:
        command = self._commands.get(str(header.get("command")))
        if command is None:
            return {"error": "the running signer does not know this command; is it older?"}
        try:
            return {"result": await command(header["arguments"], uid, secret)}
        except BunkerError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 -- the owner is answered whatever happens
            log.error("control failed", command=header["command"], error=type(error).__name__)
            return {"error": f"the signer failed: {type(error).__name__}"}


async def _read_line(caller: socket.socket, rest: bytearray) -> tuple[bytes, int]:
    """Return a line, and how many bytes after it went into `rest`; raises ValueError.

    What follows the line may be a passphrase, so it is read by no stream, which would keep it: the
    one buffer that it passes through is wiped.
    """
    loop = asyncio.get_running_loop()
    line, piece = bytearray(), bytearray(_PIECE)
    try:
        while True:
            count = await loop.sock_recv_into(caller, piece)
            if count == 0:
                raise EOFError
            end = piece.find(b"\n", 0, count)
            line += memoryview(piece)[: count if end < 0 else end]
            if len(line) > MAX_LINE:
                raise ValueError("line too long")
            if end >= 0:
                after = count - end - 1
                if after > len(rest):
                    raise ValueError("more than a passphrase")
                # Between views: a bytearray would make a copy of what is assigned to it.
                memoryview(rest)[:after] = memoryview(piece)[end + 1 : count]
                return bytes(line), after
    finally:
        wipe(piece)


async def _read_rest(caller: socket.socket, into: bytearray, given: int, size: int) -> None:
    loop = asyncio.get_running_loop()
    while given < size:
        count = await loop.sock_recv_into(caller, memoryview(into)[given:size])
        if count == 0:
            raise EOFError
        given += count
