"""Native messaging: how a browser and the program that it started talk over pipes.

A message is JSON in UTF-8 behind its length, 32 bits in the machine's own byte order
(https://developer.chrome.com/docs/extensions/develop/concepts/native-messaging).
"""

import struct
from collections.abc import Iterator
from typing import Any, Final

import orjson

from bunker_core.errors import InvalidInput

# The browsers' own limit for what a host sends; nothing that NIP-07 asks for needs more back.
MAX_BYTES: Final = 1024 * 1024

_LENGTH: Final = struct.Struct("=I")


class Decoder:
    """Turns what is read, in whatever pieces, into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take bytes and yield each message that is complete.

        Raises InvalidInput; nothing that follows can be read then.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if size > MAX_BYTES:
                raise InvalidInput(f"message is larger than {MAX_BYTES} bytes")
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                yield orjson.loads(body)
            except orjson.JSONDecodeError:
                raise InvalidInput("message is not JSON") from None


def encode(message: Any) -> bytes:
    """Return a message as it is written; raises InvalidInput when it is too large to be read."""
    body = orjson.dumps(message)
    if len(body) > MAX_BYTES:
        raise InvalidInput(f"message is larger than {MAX_BYTES} bytes")
    return _LENGTH.pack(len(body)) + body
