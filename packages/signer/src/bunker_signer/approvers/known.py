"""What the signer knows of its owner, so that a question can say what would change.

The latest of each replaceable event that it signed (or that the owner's relays gave it), and the
hosts where a key has logged in, lie in a file of their own (0600); the beginnings of notes are in
memory alone. All of it was signed to be published; private parts of lists are encrypted by the app
already. It is bounded in bytes and entries, and losing it costs nothing but a comparison.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from bunker_core.bounds.recent import Recent
from bunker_core.describe import Known, plain
from bunker_core.describe.change import d_tag
from bunker_core.describe.description import LOGIN_TAGS, hosts
from bunker_core.errors import BunkerError
from bunker_core.event import Event, EventTemplate, parse_event_json
from bunker_core.kinds import Storage, storage
from bunker_signer.process.logs import get_logger
from bunker_signer.request.approval import Question
from bunker_signer.store import Database, clients

FILE_NAME: Final = "known.sqlite3"  # in the data directory
MAX_BYTES: Final = 4 * 1024 * 1024  # of events, for each key
MAX_EVENT: Final = 512 * 1024  # bytes; a longer one is not kept
MAX_HOSTS: Final = 1000  # for each key
MAX_NOTES: Final = 2000  # of all keys
NOTE_LENGTH: Final = 200  # characters of a note that are kept

_NOTE: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
  key TEXT, kind INTEGER, d TEXT, created_at INTEGER, size INTEGER, event BLOB,
  PRIMARY KEY (key, kind, d));
CREATE TABLE IF NOT EXISTS hosts (key TEXT, host TEXT, at INTEGER, PRIMARY KEY (key, host));
"""
_TRIM_EVENTS: Final = """
DELETE FROM events WHERE key = ? AND rowid IN (SELECT rowid FROM (
  SELECT rowid, sum(size) OVER (ORDER BY created_at DESC, rowid DESC) AS total
  FROM events WHERE key = ?) WHERE total > ?)
"""
_TRIM_HOSTS: Final = """
DELETE FROM hosts WHERE key = ? AND rowid IN (
  SELECT rowid FROM hosts WHERE key = ? ORDER BY at DESC LIMIT -1 OFFSET ?)
"""
_REPLACED: Final = (Storage.REPLACEABLE, Storage.ADDRESSABLE)

log = get_logger(__name__)


class KnownOwner:
    """Answers `of` a question; is told of what was `signed`. A file that fails is done without."""

    def __init__(self, path: Path, database: Database) -> None:
        self._database = database
        self._notes: Recent[str] = Recent(MAX_NOTES)
        self._logins: set[tuple[str, str]] = set()  # written down already
        self._file: sqlite3.Connection | None = None
        try:
            path.touch(0o600)
            path.chmod(0o600)
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            log.warning("what would change can't be shown", file=str(path), error=str(error))
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def of(self, question: Question) -> Known:
        """Return what is known that concerns `question`."""
        key, kind = question.key_name, question.action.kind
        templates = [item.template for item in question.items if item.template is not None]
        events: dict[tuple[int, str], Event] = {}
        for template in templates:
            place = (template.kind, d_tag(template))
            if place not in events and (found := self.latest(key, *place)) is not None:
                events[place] = found
        notes = {}
        if kind == 5:
            wanted = {tag[1] for item in templates for tag in item.tags if len(tag) > 1}
            notes = {item: text for item in wanted if (text := self._notes.get(item)) is not None}
        return Known(
            events,
            notes,
            self.names(key),
            self._hosts(key) if kind in LOGIN_TAGS else None,
            self._same_name(question),
            self.own_name(key),
        )

    def own_name(self, key: str) -> str:
        """Return what a key is called in its own profile, "" if that is not known."""
        profile = self.latest(key, 0)
        try:
            fields = json.loads(profile.content) if profile is not None else {}
        except (ValueError, RecursionError):
            return ""
        name = fields.get("name") if isinstance(fields, dict) else ""
        return plain.line(name, 40) if isinstance(name, str) else ""

    def latest(self, key: str, kind: int, d: str = "") -> Event | None:
        """Return the latest event that is known of a kind (and d tag)."""
        rows = self._rows("SELECT event FROM events WHERE key=? AND kind=? AND d=?", key, kind, d)
        try:
            return parse_event_json(rows[0][0]) if rows else None
        except BunkerError:
            return None

    def names(self, key: str) -> Mapping[str, str]:
        """Return what the owner calls people: the petnames in their follow list (NIP-02)."""
        follows = self.latest(key, 3)
        if follows is None:
            return {}
        return {tag[1]: tag[3] for tag in follows.tags if len(tag) > 3 and tag[0] == "p" and tag[3]}

    def listener(self, key: str) -> Callable[[Event], None]:
        """Return what is called in the way of a request: what needs the file is done after it."""
        loop = asyncio.get_running_loop()

        def signed(event: Event) -> None:
            if event.kind == _NOTE:
                self._notes.put(event.id, event.content[:NOTE_LENGTH])
            elif event.kind in LOGIN_TAGS or storage(event.kind) in _REPLACED:
                loop.call_soon_threadsafe(self.signed, key, event)

        return signed

    def signed(self, key: str, event: Event) -> None:
        """Remember an event that was signed, or that a relay gave us of our own."""
        if storage(event.kind) in _REPLACED:
            self._keep(key, event)
        elif event.kind == _NOTE:
            self._notes.put(event.id, event.content[:NOTE_LENGTH])
        elif event.kind in LOGIN_TAGS:
            template = EventTemplate(event.kind, "", event.tags, event.created_at)
            for host in hosts(template)[:4]:
                self._keep_host(key, host[:255], event.created_at)

    def _keep_host(self, key: str, host: str, at: int) -> None:
        if (key, host) in self._logins:
            return
        if len(self._logins) < MAX_HOSTS:
            self._logins.add((key, host))
        self._run("INSERT OR IGNORE INTO hosts VALUES (?, ?, ?)", (key, host, at))
        self._run(_TRIM_HOSTS, (key, key, MAX_HOSTS))

    def _keep(self, key: str, event: Event) -> None:
        text = event.to_json()
        if len(text) > MAX_EVENT:
            return
        known = self.latest(key, event.kind, d_tag(event))
        # NIP-01: of two of one second the lower id counts.
        if known is not None and (known.created_at, event.id) > (event.created_at, known.id):
            return
        self._run(
            "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?)",
            (key, event.kind, d_tag(event), event.created_at, len(text), text),
        )
        self._run(_TRIM_EVENTS, (key, key, MAX_BYTES))

    def _hosts(self, key: str) -> frozenset[str] | None:
        if self._file is None:
            return None
        return frozenset(row[0] for row in self._rows("SELECT host FROM hosts WHERE key=?", key))

    def _same_name(self, question: Question) -> bool:
        name = _plainest(question.client_name)
        if not name:
            return False

        def look(connection: Connection) -> bool:
            return any(
                item.pubkey != question.client_pubkey and _plainest(item.metadata.name) == name
                for item in clients.every(connection)
            )

        try:
            with self._database.read() as connection:
                return look(connection)
        except BunkerError:
            return False

    def _rows(self, query: str, *values: object) -> list[tuple[str, ...]]:
        if self._file is None:
            return []
        try:
            with closing(self._file.execute(query, values)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            log.warning("what is known can't be read", error=str(error))
            return []

    def _run(self, query: str, values: tuple[object, ...]) -> None:
        if self._file is None:
            return
        try:
            self._file.execute(query, values).close()
        except sqlite3.Error as error:
            log.warning("what was signed can't be kept for comparison", error=str(error))


def _plainest(name: str) -> str:
    """Return a name without what makes it only look different."""
    return "".join(character for character in name.casefold() if character.isalnum())
