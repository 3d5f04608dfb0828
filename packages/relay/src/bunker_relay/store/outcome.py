"""What the store answers; apart from it, as a relay without a database needs the words alone."""

from dataclasses import dataclass
from enum import Enum


class StoreError(Exception):
    """The database can't be used just now; the text is fit for an OK or a CLOSED."""


class Outcome(Enum):
    """What the store made of an event."""

    SAVED = "saved"
    DUPLICATE = "duplicate"  # this very event is there
    SUPERSEDED = "superseded"  # a version that wins over it is there
    DELETED = "deleted"  # its author asked for its deletion


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored event as it goes out."""

    id: str
    json: bytes
