"""What only one relay may have: its address and its data directory."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bunker_core.local.locks import hold

LOCK: Final = "lock"  # in the data directory
_BACKLOG: Final = 2_048  # connections not yet accepted; as many as uvicorn's own


class StartError(Exception):
    """The relay can't start; the text says what is wrong and what to do."""


def bind(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Return `count` listening sockets of one address; raises StartError.

    Several share its connections: the kernel deals them out (SO_REUSEPORT).
    """
    sockets: list[socket.socket] = []
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StartError(f"can't listen on {host}: {error.strerror}; check --host") from error
    except UnicodeError:  # half a character, or a label that IDNA has no room for
        raise StartError(f"can't listen on {host}: no name of a host; check --host") from None
    try:
        if count > 1:
            # The first is bound alone and for itself: another relay on this port shows, which
            # among sockets that share it would not.
            with socket.socket(family, kind, protocol) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
                address = alone.getsockname()
        for _ in range(count):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if count > 1:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            # From now on the port is ours. Clients that come back during a restart wait here until
            # the relay serves; whose SYN finds no room tries again only after a second.
            listener.listen(_BACKLOG)
    except OSError as error:
        for listener in sockets:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is in use; choose another with --port, or 0 for a free one"
            ) from error
        raise StartError(
            f"can't listen on {host} port {port}: {error.strerror}; check --host and --port"
        ) from error
    return sockets


@contextlib.contextmanager
def lock(data: Path) -> Iterator[None]:
    """Make the data directory and hold it for this relay alone; raises StartError."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = hold(data / LOCK)  # its time is left as it is, see `event.clock`
    except BlockingIOError as error:
        raise StartError(
            f"the data directory {data} is in use by another relay;"
            " stop that one, or choose another directory with --data"
        ) from error
    except OSError as error:
        raise StartError(
            f"can't write to the data directory {data}: {error.strerror};"
            " choose another with --data"
        ) from error
    try:
        yield
    finally:
        os.close(handle)
