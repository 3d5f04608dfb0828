"""Native messaging: how a browser and the program that it started talk over pipes.

A message is JSON in UTF-8 behind its length, 32 bits in the machine's own byte order
(https://developer.chrome.com/docs/extensions/develop/concepts/native-messaging).
"""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bunker_core.errors import InvalidInput

# The browsers' own limit for what a host sends; nothing that NIP-07 asks for needs more back.
MAX_BYTES: Final = 1024 * 1024

_LENGTH: Final = struct.Struct("=I")
_HEAD: Final = 1024  # bytes of a message that is too large, in which its id is looked for
# The extension writes type and id first.
_ID: Final = re.compile(rb'^\s*\{\s*"type"\s*:\s*"request"\s*,\s*"id"\s*:\s*(\d{1,15})\b')


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is skipped: why, and which request it was, if that can be told."""

    reason: str
    id: int | None


class Decoder:
    """Turns what is read, in whatever pieces, into messages.

    What can't be read is one page's fault: it is skipped, and all others go on.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0  # bytes that are left of a message that is too large

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take bytes and yield each message that is complete, or an Unreadable in its place."""
        self._buffer += data
        while True:
            dropped = min(self._skip, len(self._buffer))
            del self._buffer[:dropped]
            self._skip -= dropped
            if self._skip or len(self._buffer) < _LENGTH.size:
                return
            (size,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + size
            if size > MAX_BYTES:
                if len(self._buffer) < _LENGTH.size + _HEAD:
                    return
                found = _ID.match(self._buffer[_LENGTH.size : _LENGTH.size + _HEAD])
                yield Unreadable(
                    f"the call is larger than {MAX_BYTES} bytes", int(found[1]) if found else None
                )
                self._skip = end
                continue
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _message(body)


def _message(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # Half an emoji is JSON to a browser, and to Python's own parser.
    try:
        value = json.loads(body.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return Unreadable("the call is not JSON", None)
    number = value.get("id") if isinstance(value, dict) else None
    return Unreadable(
        "the text is not Unicode: it has half of a surrogate pair",
        number if type(number) is int else None,
    )


def encode(message: Any) -> bytes:
    """Return a message as it is written; raises InvalidInput when it is too large to be read."""
    body = orjson.dumps(message)
    if len(body) > MAX_BYTES:
        raise InvalidInput(f"message is larger than {MAX_BYTES} bytes")
    return _LENGTH.pack(len(body)) + body
