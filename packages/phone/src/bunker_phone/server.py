"""uvicorn as the page is served: its own port, no names in logs, small bounds."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from bunker_core.errors import BunkerError
from bunker_core.local import sockets


class CantListen(BunkerError):
    """The port is taken, or the address is none of this machine's."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises CantListen."""
    try:
        return sockets.listen(host, port)
    except OSError as error:
        raise CantListen(f"can't listen on {host}:{port}: {error.strerror}") from None


class _Embedded(uvicorn.Server):
    """A server in somebody else's process, whose signals are not its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: ASGIApp, *, signals: bool = True) -> uvicorn.Server:
    """Return a server for `app`; run it with `serve(sockets=[...])`.

    Without `signals`, SIGINT and SIGTERM are left to the program around it.
    """
    kind = uvicorn.Server if signals else _Embedded
    return kind(
        uvicorn.Config(
            app,
            lifespan="off",
            access_log=False,  # it would name visitors
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=256,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=1,
        )
    )
