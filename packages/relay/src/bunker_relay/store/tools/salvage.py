"""Events out of a damaged SQLite file: whatever can be read and still has its signature.

SQLite gives up a query at the first page that it can't read. Here the next row is tried instead,
one after the other. A deep search looks through the raw pages besides: it finds events that no
query reaches any more, and those that were deleted and not overwritten since.
"""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bunker_core.errors import InvalidEvent
from bunker_core.event import parse_event_json, verify
from bunker_relay.store.outcome import StoreError

_GIVE_UP: Final = 30_000  # rows in a row that can't be read
_PIECE: Final = 1_048_576  # bytes of the file looked at together
_LONGEST: Final = 65_536  # bytes: the largest page; what is longer lies in pieces
# As `Event.to_json` writes it.
_EVENT: Final = re.compile(rb'\{"id":"[0-9a-f]{64}".*?"sig":"[0-9a-f]{128}"\}', re.DOTALL)


@dataclass(slots=True)
class Tally:
    """What was found so far."""

    saved: int = 0
    lost: int = 0  # rows that can't be read; not known for a deep search


def salvage(path: Path, tally: Tally, *, deep: bool = False) -> Iterator[bytes]:
    """Yield each event that is found as a JSON text, and count in `tally`.

    None comes twice. Raises StoreError when there is no file.
    """
    if not path.is_file():
        raise StoreError(f"there is no file {path}")
    seen: set[bytes] = set()
    sources = [_by_rows(path, tally)]
    if deep:
        sources.append(_by_pages(path))
    for source in sources:
        for text in source:
            try:
                event = verify(parse_event_json(text))
            except InvalidEvent:
                continue
            identifier = bytes.fromhex(event.id)
            if identifier not in seen:
                seen.add(identifier)
                tally.saved += 1
                yield event.to_json()


def _by_rows(path: Path, tally: Tally) -> Iterator[bytes]:
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return
    try:
        last = _last_row(connection)
        at, failed = 1, 0
        while failed < _GIVE_UP and (last is None or at <= last):
            try:
                rows = connection.execute(
                    "SELECT seq, json FROM events NOT INDEXED WHERE seq >= ? ORDER BY seq", (at,)
                )
                for seq, text in rows:
                    yield bytes(text)
                    at, failed = seq + 1, 0
                return
            except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
                if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
                    return
                at, failed = at + 1, failed + 1
                tally.lost += 1
    finally:
        connection.close()
    if last is None:
        tally.lost -= failed  # there were no rows so far out


def _last_row(connection: sqlite3.Connection) -> int | None:
    try:
        (found,) = connection.execute("SELECT max(seq) FROM events").fetchone()
    except sqlite3.Error:
        return None
    return int(found or 0)


def _by_pages(path: Path) -> Iterator[bytes]:
    for file in (path, path.with_name(f"{path.name}-wal")):
        if not file.is_file():
            continue
        with file.open("rb") as pages:
            kept = b""
            while piece := pages.read(_PIECE):
                data = kept + piece
                for found in _EVENT.finditer(data):
                    yield found[0]
                kept = data[-_LONGEST:]
