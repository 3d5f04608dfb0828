"""Sockets of this machine: one that listens, and who is at the other end of a Unix socket."""

import errno
import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

# Linux, unix(7), struct ucred: pid, uid, gid.
_UCRED: Final = struct.Struct("3i")
# macOS and FreeBSD, unix(4), struct xucred: version, uid, and groups of which none matters here.
_XUCRED: Final = struct.Struct("=II")
_XUCRED_BYTES: Final = 128  # more than any of them has
_XUCRED_VERSION: Final = 0
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_BACKLOG: Final = 128  # connections that are not accepted yet
_MAX_PATH: Final = 103  # bytes of a socket's address on macOS; Linux has four more


class Peer(Protocol):
    """What a socket and asyncio's view of one have in common."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def listen(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens already: whoever is told the address may come at once.

    Port 0 picks one, and a host of "" is every address. Raises OSError, also for a text that is no
    host, and OverflowError for a number that is no port.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError):
        listening.close()
        raise
    except (TypeError, UnicodeError):  # half a character, or a label that IDNA has no room for
        listening.close()
        raise OSError(errno.EINVAL, "no name of a host") from None
    return listening


def peer_uid(connection: Peer) -> int:
    """Return the user at the other end of a Unix socket, as the kernel knows them.

    Raises OSError where the kernel does not tell: then nobody is to be answered.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is not None:
        raw = connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size)
        return int(_UCRED.unpack(raw)[1])
    raw = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES)
    version, uid = _XUCRED.unpack_from(raw)
    if version != _XUCRED_VERSION:
        raise OSError("the kernel's credentials are of an unknown version")
    return int(uid)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for `path` that fits into a socket's address, good within the context.

    Through a descriptor where the system has /proc, else by a link in a folder of our own.
    """
    flag = getattr(os, "O_PATH", None)
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
    elif flag is not None and Path("/proc/self/fd").is_dir():
        handle = os.open(path.parent, flag | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{handle}/{path.name}"
        finally:
            os.close(handle)
    else:
        with tempfile.TemporaryDirectory(prefix="bunker-", dir=_short_folder()) as folder:
            link = Path(folder, "d")
            link.symlink_to(path.parent.absolute(), target_is_directory=True)
            yield str(link / path.name)


def _short_folder() -> str | None:
    # macOS' own temporary folder takes half of the address.
    return "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else None  # noqa: S108 -- mode 0700 inside
