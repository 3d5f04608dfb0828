"""The host process: pipes to the browser on one side, a signer on the other."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

from bunker_client.nip07.prompts import Prompts, Send, Use, answered, failed
from bunker_client.nip07.wire import Decoder, Unreadable, encode
from bunker_core.errors import BunkerError, InvalidInput
from bunker_core.signer import Signer

_READ_BYTES: Final = 65_536

OpenSigner = Callable[[], AbstractAsyncContextManager[Signer]]


class Host:
    """Serves one browser until it closes its end."""

    def __init__(
        self,
        prompts: Prompts,
        open_signer: OpenSigner,
        write: Callable[[bytes], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`open_signer` is called for the first request that is granted, and after a failure."""
        self._prompts = prompts
        self._open_signer = open_signer
        self._write = write
        self._clock = clock
        self._signer: Signer | None = None
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Read messages and answer them."""
        decoder = Decoder()
        async with AsyncExitStack() as stack:
            try:
                while data := await reader.read(_READ_BYTES):
                    for message in decoder.feed(data):
                        self._receive(message, stack)
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _receive(self, message: object, stack: AsyncExitStack) -> None:
        if isinstance(message, Unreadable):
            if message.id is not None:
                self._send(failed(message.id, f"invalid: {message.reason}"))
            return
        for effect in self._prompts.receive(message, int(self._clock())):
            match effect:
                case Send():
                    self._send(effect)
                case Use():
                    task = asyncio.get_running_loop().create_task(self._use(effect, stack))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _use(self, use: Use, stack: AsyncExitStack) -> None:
        try:
            signer = await self._opened(stack)
            reply = answered(use.id, await use.operation.perform(signer))
        except BunkerError as error:
            reply = failed(use.id, str(error))
        self._send(reply)

    async def _opened(self, stack: AsyncExitStack) -> Signer:
        async with self._opening:
            if self._signer is None:
                self._signer = await stack.enter_async_context(self._open_signer())
            return self._signer

    def _send(self, effect: Send) -> None:
        try:
            data = encode(effect.message)
        except InvalidInput:
            number = effect.message["id"]
            data = encode(failed(number, "invalid: the result is too large for a page").message)
        self._write(data)
