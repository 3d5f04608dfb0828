"""What the owner does about events and who sends them: ban, unban, delete.

The same for the commands of `bunker relay` and for NIP-86. It works on the lists and the database
of a relay, whether that runs or not; from the event loop call it in a thread.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from bunker_core.filter import Filter
from bunker_relay.event.lists import Lists

HIDDEN: Final = "hidden"  # in the data directory: events of banned pubkeys, a file for each


class Moderation:
    """Acts on one relay. Raises ListsError, OSError and StoreError; then it was not done."""

    def __init__(self, lists: Lists, data: Path, database: Path | str | None) -> None:
        """`database` is None for a relay that stores nothing, or nothing yet."""
        self._lists = lists
        self._folder = data / HIDDEN
        self._database = database

    def ban_pubkey(self, pubkey: str, reason: str = "") -> int:
        """Refuse what `pubkey` sends from now on and hide what is stored; return how many events.

        Hidden events lie in a file beside the database, until `unban_pubkey`.
        """
        with self._lists.change():
            self._lists.ban_pubkey(pubkey, reason)
        return self.hide(pubkey)

    def hide(self, pubkey: str) -> int:
        """Take what is stored of a banned pubkey out of the database; return how many events."""
        if self._database is None or pubkey in self._lists.protected:
            return 0
        from bunker_relay.store.tools.remove import take_out

        with self._hidden(pubkey) as file:
            return take_out(self._database, [Filter(authors=frozenset({pubkey}))], file)

    def unban_pubkey(self, pubkey: str) -> int:
        """Lift a ban; return how many hidden events are back."""
        with self._lists.change():
            self._lists.banned_pubkeys.pop(pubkey, None)
        path = self._path(pubkey)
        if self._database is None or not path.exists():
            return 0
        from bunker_relay.store.tools.transfer import import_events

        saved = 0
        with path.open("rb") as file:
            for tally in import_events(self._database, enumerate(file, 1)):
                saved = tally.saved
        path.unlink()
        return saved

    def ban_event(self, event_id: str, reason: str = "") -> int:
        """Delete an event and take it never again; return whether it was there, 1 or 0."""
        with self._lists.change():
            self._lists.banned_events[event_id] = reason
        return self.delete([Filter(ids=frozenset({event_id}))])

    def delete(self, filters: Sequence[Filter]) -> int:
        """Delete what is stored and matches; return how many events.

        A client that still has one may publish it again.
        """
        if self._database is None:
            return 0
        from bunker_relay.store.tools.remove import take_out

        return take_out(self._database, filters)

    def _path(self, pubkey: str) -> Path:
        return self._folder / f"{pubkey}.jsonl"

    @contextmanager
    def _hidden(self, pubkey: str) -> Iterator[IO[bytes]]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(pubkey)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "ab") as file:
            yield file
        if not path.stat().st_size:
            path.unlink()
