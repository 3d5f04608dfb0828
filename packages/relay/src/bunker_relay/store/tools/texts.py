"""Events as people have them in files: JSON lines, an array, a log of messages; packed or not.

What a file is shows in its first bytes: gzip, UTF-16 or UTF-8 with a mark in front are unpacked.
Then it is either one JSON array of events, or lines, each an event or a message of NIP-01 with one.
"""

import codecs
import gzip
import io
import json
from collections.abc import Iterator
from typing import IO, Any, Final

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, parse_event, parse_event_json, verify
from bunker_core.kinds import is_ephemeral

LONGEST: Final = 16_777_216  # bytes of one event, as much as any setting allows
_PIECE: Final = 1_048_576  # bytes
_GZIP: Final = b"\x1f\x8b"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SPACE: Final = b" \t\r\n"


def texts(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the JSON text of each event, or what stands in its place, one by one.

    With it comes the number of its line, or of the item in an array, from 1.

    Raises OSError for an archive that is damaged, and UnicodeError.
    """
    source: Any = io.BufferedReader(_Raw(file), _PIECE)
    if source.peek(2)[:2] == _GZIP:
        source = io.BufferedReader(gzip.GzipFile(fileobj=source), _PIECE)
    start = source.peek(3)[:3]
    if start[:2] in _UTF16:
        source = io.BufferedReader(_Recoded(source), _PIECE)
    elif start == codecs.BOM_UTF8:
        source.read(3)
    if _is_array(source.peek(64)):
        yield from enumerate(_items(source), 1)
        return
    number = 0
    while line := source.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            yield number, line  # too large, which `read_event` says
            while line and not line.endswith(b"\n"):
                line = source.readline(LONGEST)
        elif text := line.strip():
            yield number, text


def read_event(text: bytes) -> Event:
    """Return the verified event of a text; raises InvalidEvent with the reason."""
    if len(text) > LONGEST:
        raise InvalidEvent("too large")
    is_message = text.startswith(b"[")
    event = parse_event(_of_message(text)) if is_message else parse_event_json(text)
    verified = verify(event)
    if is_ephemeral(verified.kind):
        raise InvalidEvent(f"kind {verified.kind} is ephemeral, and not for storing")
    return verified


def _of_message(text: bytes) -> Any:
    """Return the event in ["EVENT", {...}] or ["EVENT", "subscription", {...}]."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidEvent("not JSON") from None
    if isinstance(message, list) and len(message) in (2, 3) and message[0] == "EVENT":
        return message[-1]
    raise InvalidEvent("not an event, nor a message with one")


def _is_array(start: bytes) -> bool:
    """Tell an array of events from a message, which is one too."""
    compact = start.translate(None, _SPACE)
    return compact[:2] in (b"[{", b"[]") or compact == b"["


def _items(source: IO[bytes]) -> Iterator[bytes]:
    """Yield the items of an array that may be larger than the memory."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    items = json.JSONDecoder()
    text, ended = "", False
    while True:
        text = text.lstrip(" \t\r\n[,")
        try:
            item, end = items.raw_decode(text)
        except (ValueError, RecursionError):
            if ended or len(text) > LONGEST:
                if text.strip(" \t\r\n]"):
                    yield text.encode(errors="replace")  # no event, which is then said
                return
            piece = source.read(_PIECE)
            ended = not piece
            text += decoder.decode(piece, final=ended)
            continue
        yield json.dumps(item, ensure_ascii=False).encode(errors="surrogatepass")
        text = text[end:]


class _Raw(io.RawIOBase):
    """Any file of bytes, for a BufferedReader, which lets us look ahead."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-16")()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = self._source.read(65_536)
            self._rest = self._decoder.decode(piece, final=not piece).encode()
            if not piece:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
