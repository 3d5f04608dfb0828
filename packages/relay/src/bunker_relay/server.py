"""uvicorn as the relay runs it: bind, announce, serve, drain."""

import asyncio
import contextlib
import errno
import fcntl
import signal
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bunker_relay.app import create_app
from bunker_relay.config import Config
from bunker_relay.relay import Relay
from bunker_relay.store import StoreError


class StartError(Exception):
    """The relay can't start; the text says what is wrong and what to do."""


def serve(config: Config) -> None:
    """Run a relay until SIGTERM or SIGINT; raises StartError before anything is written."""
    with bind(config.host, config.port) as listener, lock(config.data):
        uvicorn_config = uvicorn.Config(
            _forbidden,
            http="httptools",
            ws=_Protocol,
            loop="uvloop",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            ws_max_size=config.limits.max_message_bytes,
            ws_per_message_deflate=False,
            ws_ping_interval=config.ping_interval,
            ws_ping_timeout=config.ping_timeout,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
        _Server(uvicorn_config, config, listener).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket; raises StartError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"can't listen on {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is in use; choose another with --port, or 0 for a free one"
            ) from error
        raise StartError(f"can't listen on {host} port {port}: {error.strerror}") from error
    return listener


@contextlib.contextmanager
def lock(data: Path) -> Generator[IO[str]]:
    """Make the data directory and hold it for this process alone; raises StartError."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = (data / "lock").open("w")
    except OSError as error:
        raise StartError(
            f"can't write to the data directory {data}: {error.strerror};"
            " choose another with --data"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"the data directory {data} is in use by another relay;"
                " stop that one, or choose another directory with --data"
            ) from error
        yield handle


class _Protocol(WebSocketsSansIOProtocol):
    """Adds one thing to the scope: a way to drop a client that does not read."""

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["bunker.abort"] = self.transport.abort
        await super().run_asgi()


class _Server(uvicorn.Server):
    """Announces itself when it accepts connections, and says goodbye before it stops."""

    def __init__(self, config: uvicorn.Config, settings: Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._settings = settings
        self._listener = listener
        self._relay: Relay | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            self._relay = Relay(self._settings)
        except StoreError as error:
            raise StartError(
                f"can't open the database in {self._settings.data}: {error}"
            ) from error
        self.config.loaded_app = create_app(self._relay)
        await super().startup(sockets)
        host, port = self._listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"relay listening on ws://{host}:{port}\n")
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self._relay is not None:
            await self._relay.drain()
        await super().shutdown(sockets)
        if self._relay is not None:
            await self._relay.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """End with exit code 0; uvicorn would raise the signal once more."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def _forbidden(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("the app is made when the loop runs")
