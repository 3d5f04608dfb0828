"""uvicorn as the page is served: its own port, no names in logs, small bounds."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from bunker_core.errors import BunkerError


class CantListen(BunkerError):
    """The port is taken, or the address is none of this machine's."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound; raises CantListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise CantListen(f"can't listen on {host}:{port}: {error.strerror}") from None
    return listener


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
