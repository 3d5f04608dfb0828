"""uvicorn as the page is served: its own port, no names in logs, small bounds."""

import socket

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


def server(app: ASGIApp) -> uvicorn.Server:
    """Return a server for `app`; run it with `serve(sockets=[...])`."""
    return uvicorn.Server(
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
