"""What the store answers; apart from it, as a relay without a database needs the words alone."""

from array import array
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

PAGE_BYTES: Final = 262_144  # of JSON that is read at once, but for one event that is larger
_PAGE_EVENTS: Final = 500
_ID: Final = 32  # bytes


class StoreError(Exception):
    """The database can't be used just now; the text is fit for an OK or a CLOSED."""


def is_damage(error: StoreError) -> bool:
    """Tell whether a file of SQLite can't be read any more, by what SQLite says of it."""
    return any(word in str(error) for word in ("malformed", "not a database", "is damaged"))


class Outcome(Enum):
    """What the store made of an event."""

    SAVED = "saved"
    DUPLICATE = "duplicate"  # this very event is there
    SUPERSEDED = "superseded"  # a version that wins over it is there
    DELETED = "deleted"  # its author asked for its deletion


class Stored(NamedTuple):
    """A stored event as it goes out."""

    id: str
    json: bytes


class Found:
    """What a query has found, in order, without its JSON: 48 bytes an event.

    The JSON is read page by page, as fast as the client takes it.
    """

    __slots__ = ("_ids", "more", "seqs", "sizes")

    def __init__(
        self,
        ids: Iterable[bytes] = (),
        seqs: Iterable[int] = (),
        sizes: Iterable[int] = (),
        *,
        more: bool = False,
    ) -> None:
        """`sizes` are bytes of JSON; `more` tells whether a limit cut some off."""
        self._ids = b"".join(ids)
        self.seqs = array("q", seqs)
        self.sizes = array("q", sizes)
        self.more = more

    def __len__(self) -> int:
        return len(self.seqs)

    def id_at(self, index: int) -> bytes:
        """Return the id of one event."""
        return self._ids[index * _ID : (index + 1) * _ID]

    @property
    def ids(self) -> Iterator[str]:
        """The ids of all events, as hex."""
        return (self.id_at(index).hex() for index in range(len(self)))

    def page(self, start: int) -> tuple[range, int]:
        """Return the indices of the page that begins at `start`, and its bytes of JSON."""
        size = 0
        for end in range(start, min(len(self), start + _PAGE_EVENTS)):
            if size and size + self.sizes[end] > PAGE_BYTES:
                return range(start, end), size
            size += self.sizes[end]
        return range(start, min(len(self), start + _PAGE_EVENTS)), size
