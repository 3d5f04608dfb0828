"""The audit log's chain, without a database: each entry holds the hash of the one before.

A changed, removed or re-ordered entry breaks the chain at its place. Whoever can write the database
could compute a whole new chain, so the hash of the last entry is worth noting elsewhere:
`bunker signer audit verify` prints it and takes it back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final

import orjson

from bunker_core.errors import BunkerError

GENESIS: Final = "0" * 64  # what the very first entry has before it


class ChainError(BunkerError):
    """The log is not what was written; says at which entry."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One decision: who, what, by which rule or person. Never a content."""

    seq: int
    at: int  # Unix seconds
    action: str  # request, pair, logout, revoke, lock, ...
    key_name: str
    client_pubkey: str = ""
    method: str = ""
    param: str = ""  # kind or peer
    event_id: str = ""  # the request's; for a signature that was made, in `outcome`
    outcome: str = ""
    decided_by: str = ""
    previous: str = GENESIS
    hash: str = ""

    def to_json(self) -> str:
        """Return the entry as a line of an export."""
        return orjson.dumps(self).decode()

    @classmethod
    def from_json(cls, line: str) -> "AuditEntry":
        """Read a line of an export; raises ChainError."""
        try:
            value: Any = orjson.loads(line)
            return cls(**value)
        except (orjson.JSONDecodeError, TypeError):
            raise ChainError("a line is not an audit entry") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names."""
        # `dataclasses.asdict` copies each value with care, and one is made for every request.
        return dict(zip(_FIELDS, _values(self), strict=True))

    def sealed(self) -> "AuditEntry":
        """Return the entry with its hash."""
        fields = self.to_dict()
        fields["hash"] = digest_of(fields)
        return AuditEntry(**fields)

    def digest(self) -> str:
        """Return the hash that the entry should have."""
        return digest_of(self.to_dict())


_FIELDS: Final = tuple(AuditEntry.__slots__)
_values: Final = attrgetter(*_FIELDS)


def digest_of(fields: dict[str, Any]) -> str:
    """Return the hash over an entry's fields; takes the present one out of them."""
    del fields["hash"]
    return sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a chain has to start and to end."""

    first_seq: int
    first_previous: str
    last_seq: int
    last_hash: str


def verify(entries: Iterable[AuditEntry], ends: Ends | None = None) -> tuple[int, str]:
    """Check a chain in order; return how many entries it has and the hash of the last.

    Without `ends` (an export) the chain may start and end anywhere. Raises ChainError.
    """
    count = 0
    expected_seq = ends.first_seq if ends else None
    previous = ends.first_previous if ends else None
    for entry in entries:
        if expected_seq is not None and entry.seq != expected_seq:
            raise ChainError(f"entry {expected_seq} is missing or out of order")
        if previous is not None and entry.previous != previous:
            raise ChainError(f"entry {entry.seq} does not follow the one before it")
        if entry.digest() != entry.hash:
            raise ChainError(f"entry {entry.seq} was changed")
        count += 1
        expected_seq, previous = entry.seq + 1, entry.hash
    if ends and (expected_seq != ends.last_seq + 1 or previous != ends.last_hash):
        raise ChainError(f"entry {expected_seq} is missing: the log was cut off")
    return count, previous or GENESIS
