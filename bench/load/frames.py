"""RFC 6455 as a load generator needs it: masked text frames out, frames in, nothing else.

Its own codec, so that no relay is measured with the library that it is built on itself.
"""

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha1
from typing import Final

TEXT: Final = 0x81  # FIN and opcode 1
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class HandshakeFailed(Exception):
    """The server did not agree to speak WebSocket; the text is its status line."""


def encode(payload: bytes, mask: bytes, first: int = TEXT) -> bytes:
    """Return one masked frame, as a client has to send it; `mask` is 4 bytes."""
    length = len(payload)
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        header = bytes((first, 0x80 | 126)) + length.to_bytes(2)
    else:
        header = bytes((first, 0x80 | 127)) + length.to_bytes(8)
    stream = (mask * (length // 4 + 1))[:length]
    masked = int.from_bytes(payload) ^ int.from_bytes(stream)
    return header + mask + masked.to_bytes(length)


def encode_unmasked(payload: bytes, first: int = TEXT) -> bytes:
    """Return one frame as a server sends it."""
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2) + payload
    return bytes((first, 127)) + length.to_bytes(8) + payload


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Return `payload` without its mask, or with it."""
    length = len(payload)
    stream = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(length)


class Decoder:
    """Cuts a byte stream into frames, masked or not.

    Fragmented messages are not put together again: no relay sends them.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes and yield the first byte and the payload of every frame that is whole."""
        if self._rest:
            data = self._rest + data
        at = 0
        size = len(data)
        while size - at >= 2:
            length = data[at + 1]
            masked = length & 0x80
            length &= 0x7F
            start = at + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[at + 2 : start])
            elif length == 127:
                start += 8
                length = int.from_bytes(data[at + 2 : start])
            if start > size:
                break
            if masked:
                mask = data[start : start + 4]
                start += 4
            end = start + length
            if end > size:
                break
            payload = data[start:end]
            yield data[at], unmask(payload, mask) if masked else payload
            at = end
        self._rest = data[at:]


def request(host: str, port: int, path: str, key: bytes) -> bytes:
    """Return the opening handshake; `key` is 16 bytes."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {b64encode(key).decode()}\r\n\r\n"
    ).encode()


def check_response(head: bytes, key: bytes) -> None:
    """Check the server's answer to `request`; raises HandshakeFailed."""
    status, *lines = head.split(b"\r\n")
    if not status.startswith(b"HTTP/1.1 101"):
        raise HandshakeFailed(status.decode("latin-1")[:100])
    wanted = accept(b64encode(key))
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-accept" and value.strip() == wanted:
            return
    raise HandshakeFailed("Sec-WebSocket-Accept does not match")


def accept(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
