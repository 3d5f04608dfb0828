"""The opening handshake as nearly every client makes it (RFC 6455, section 4.2.1).

uvicorn writes the request that it has parsed down again, for websockets to parse it once more, and
starts a task for the application: half of what a connection costs. A request in which nothing is
unusual can be answered as it stands; any other, one to be refused included, takes uvicorn's way.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha1
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64
_CONNECTION: Final = (b"upgrade", b"keep-alive, upgrade")
_ONCE: Final = frozenset(
    (b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version", b"origin", b"host")
)
# A body, or what the application has to choose from.
_UNUSUAL: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"expect", b"sec-websocket-protocol")
)

Header = tuple[bytes, bytes]  # its name in lower case


def accept(method: str, version: str, headers: Iterable[Header]) -> bytes | None:
    """Return the Sec-WebSocket-Accept of an ordinary handshake; None for anything else."""
    if method != "GET" or version != "1.1":
        return None
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ONCE:
            if name in seen:
                return None
            seen[name] = value
        elif name in _UNUSUAL:
            return None
    key = seen.get(b"sec-websocket-key", b"")
    if (
        seen.get(b"upgrade", b"").lower() != b"websocket"
        or seen.get(b"connection", b"").lower() not in _CONNECTION
        or seen.get(b"sec-websocket-version") != b"13"
        or not _KEY.fullmatch(key)
    ):
        return None
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def response(accepted: bytes, more: Iterable[Header]) -> bytes:
    """Return the answer that opens the WebSocket, with `more` headers."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: ",
        accepted,
        b"\r\n",
    ]
    for name, value in more:
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)
