"""An ASGI app on a loopback port of this process, started and stopped within milliseconds."""

import asyncio
import socket
from typing import Final

import uvicorn
from starlette.types import ASGIApp

HOST: Final = "127.0.0.1"


class Server(uvicorn.Server):
    """uvicorn without signals and without its tenths of a second. Lives on one event loop."""

    def __init__(self, app: ASGIApp, *, max_message_bytes: int = 1_048_576) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="websockets-sansio",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                ws_max_size=max_message_bytes,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._listening = asyncio.Event()
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        """Return when clients can connect; port 0 is any free one. Raises OSError."""
        listener = socket.create_server((HOST, port))
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self.serve(sockets=[listener]))
        listening = asyncio.create_task(self._listening.wait())
        await asyncio.wait([self._task, listening], return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()

    def hide(self) -> None:
        """Take no new connections."""
        for server in self.servers:
            server.close()

    def abort(self) -> None:
        """Break every connection without a word."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def stop(self) -> None:
        """Close every connection and end."""
        self.hide()
        self._stopped.set()
        if self._task is not None:
            await self._task

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it is done."""
        await super().startup(sockets)
        self._listening.set()

    async def main_loop(self) -> None:
        """Wait for `stop`, which uvicorn would notice a tenth of a second later."""
        await self._stopped.wait()
